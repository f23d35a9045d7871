/* DTLS records for many sessions in one call: sealed, and handed to the kernel by sendmmsg.
 *
 * What `GcmRecords.seal` and a sendto each do in Python, with the same bytes as the result (RFC 5288
 * §3). Numbers and nonces are Python's; contexts are those of `hawker_cipher` in compiled.c.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    RECORDS = 32,         /* in one sendmmsg */
    PACKET_BYTES = 1216,  /* the longest of SCTP's has 1200 */
    HEADER_BYTES = 13,
    EXPLICIT_BYTES = 8,   /* of the nonce, in the record */
    SALT_BYTES = 4,
    TAG_BYTES = 16,
    SEALED_BYTES = HEADER_BYTES + EXPLICIT_BYTES + PACKET_BYTES + TAG_BYTES,
    ADDRESS_BYTES = 28,   /* sockaddr_in6 */
    VERSION = 0xFEFD,
    OCTETS = 5,           /* OSSL_PARAM_OCTET_STRING */
};

/* OSSL_PARAM of OpenSSL 3. */
struct parameter {
    const char *key;
    unsigned int type;
    void *data;
    size_t bytes, returned;
};

/* One session's way out; `Way` in compiled_records.py. */
struct way {
    void *cipher;
    uint8_t salt[SALT_BYTES];
    uint8_t address[ADDRESS_BYTES];
    uint32_t address_bytes;
};

/* A packet to be sealed; `_ENTRY` in compiled_records.py. */
struct entry {
    const struct way *way;
    uint64_t number, nonce; /* the epoch is in the number's upper 16 bits */
    uint32_t bytes, kind;
    uint8_t packet[PACKET_BYTES];
};

struct outlet {
    int (*init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*final)(void *, uint8_t *, int *);
    int (*parameters)(void *, struct parameter *);
    struct mmsghdr messages[RECORDS];
    struct iovec vectors[RECORDS];
    uint8_t sealed[RECORDS][SEALED_BYTES];
};

/* An outlet by the libcrypto of this file, or NULL. */
struct outlet *hawker_outlet(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    struct outlet *outlet = library ? calloc(1, sizeof *outlet) : NULL;
    if (!outlet)
        return NULL;
    *(void **)&outlet->init = dlsym(library, "EVP_EncryptInit_ex");
    *(void **)&outlet->update = dlsym(library, "EVP_EncryptUpdate");
    *(void **)&outlet->final = dlsym(library, "EVP_EncryptFinal_ex");
    *(void **)&outlet->parameters = dlsym(library, "EVP_CIPHER_CTX_get_params");
    if (outlet->init && outlet->update && outlet->final && outlet->parameters)
        return outlet;
    free(outlet);
    return NULL;
}

void hawker_outlet_free(struct outlet *outlet)
{
    free(outlet);
}

static void put(uint8_t *to, uint64_t value, int bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* The record of an entry; its bytes, or 0 if it fails. */
static size_t seal(const struct outlet *outlet, const struct entry *entry, uint8_t *out)
{
    int length = 0, rest = 0, body = (int)entry->bytes;
    uint8_t nonce[SALT_BYTES + EXPLICIT_BYTES], bound[HEADER_BYTES];
    uint8_t *cipher = out + HEADER_BYTES + EXPLICIT_BYTES;
    void *context = entry->way->cipher;
    struct parameter tag[] = {{"tag", OCTETS, cipher + body, TAG_BYTES, 0}, {0}};
    put(out, entry->kind, 1);
    put(out + 1, VERSION, 2);
    put(out + 3, entry->number, 8);
    put(out + 11, EXPLICIT_BYTES + entry->bytes + TAG_BYTES, 2);
    put(out + HEADER_BYTES, entry->nonce, EXPLICIT_BYTES);
    memcpy(nonce, entry->way->salt, SALT_BYTES);
    memcpy(nonce + SALT_BYTES, out + HEADER_BYTES, EXPLICIT_BYTES);
    put(bound, entry->number, 8);
    put(bound + 8, entry->kind, 1);
    put(bound + 9, VERSION, 2);
    put(bound + 11, entry->bytes, 2);
    int right = outlet->init(context, NULL, NULL, NULL, nonce) == 1 &&
                outlet->update(context, NULL, &length, bound, HEADER_BYTES) == 1 &&
                outlet->update(context, cipher, &length, entry->packet, body) == 1 &&
                outlet->final(context, cipher + length, &rest) == 1 &&
                outlet->parameters(context, tag) == 1;
    return right ? (size_t)(HEADER_BYTES + EXPLICIT_BYTES + body + TAG_BYTES) : 0;
}

/* Seal and send `count` entries, at most RECORDS; how many were lost. */
int hawker_outlet_send(struct outlet *outlet, const struct entry *entries, int count, int fd)
{
    int ready = 0, lost = 0;
    for (int at = 0; at < count; at++) {
        const struct way *way = entries[at].way;
        size_t bytes = seal(outlet, &entries[at], outlet->sealed[ready]);
        if (!bytes) {
            lost++;
            continue;
        }
        outlet->vectors[ready] = (struct iovec){outlet->sealed[ready], bytes};
        outlet->messages[ready].msg_hdr = (struct msghdr){
            .msg_name = (void *)way->address,
            .msg_namelen = way->address_bytes,
            .msg_iov = &outlet->vectors[ready],
            .msg_iovlen = 1,
        };
        ready++;
    }
    for (int sent = 0; sent < ready;) {
        int more = sendmmsg(fd, outlet->messages + sent, (unsigned)(ready - sent), 0);
        if (more > 0) {
            sent += more;
        } else if (errno != EINTR) { /* of the next one alone: as a sendto of its own would be lost */
            sent++;
            lost++;
        }
    }
    return lost;
}
