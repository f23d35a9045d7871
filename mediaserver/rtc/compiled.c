/* The compiled sender: encrypts runs of RTP for many viewers and hands them to the kernel.
 *
 * It does what `Sender._serve` does in Python, with the same bytes as the result: SRTP with
 * AEAD_AES_128_GCM (RFC 7714), one sendmsg with UDP_SEGMENT for packets of one size, several of them in
 * one sendmmsg. It knows no loop: a call serves routes for so long, and stops where something goes
 * wrong, for Python to decide what follows.
 *
 * libcrypto is looked up at run time, so that neither its headers nor Python's are needed to build:
 *     cc -O3 -shared -fPIC compiled.c
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum {
    HEADER_BYTES = 12,
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    ADDRESS_BYTES = 28,     /* sockaddr_in6 */
    MESSAGES = 64,          /* in one sendmmsg */
    BUFFER_BYTES = 1 << 17, /* their ciphertext: two of the largest runs; stays in the cache */
    UDP_LEVEL = 17,         /* IPPROTO_UDP */
    UDP_SEGMENT = 103,      /* linux/udp.h */
    OCTETS = 5,             /* OSSL_PARAM_OCTET_STRING */
    NOT_OURS = -1,          /* the next route is one that Python has to serve */
};

/* OSSL_PARAM of OpenSSL 3. */
struct parameter {
    const char *key;
    unsigned int type;
    void *data;
    size_t bytes, returned;
};

struct libcrypto {
    void *(*context_new)(void);
    void (*context_free)(void *);
    const void *(*aes_128_gcm)(void);
    int (*init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*final)(void *, uint8_t *, int *);
    int (*parameters)(void *, struct parameter *);
};

/* One SSRC's way to one viewer; `Leg` in compiled_carrier.py. */
struct leg {
    void *cipher;
    int64_t offset;   /* added to an index for the number in the header */
    int64_t rollover; /* taken off that for the number in the nonce */
    uint8_t salt[NONCE_BYTES];
    uint16_t gso;
    uint16_t address_bytes; /* 0: not ours */
    uint8_t address[ADDRESS_BYTES];
};

struct packet {
    uint64_t index;
    uint32_t timestamp;
    uint32_t flags; /* the first two bytes of the header */
};

/* Packets of one size, the last one perhaps shorter; their payloads follow the last of them. */
struct run {
    uint32_t count, payload_bytes, last_bytes, ssrc; /* bytes of a payload, and of the last one */
    struct packet packets[];
};

/* One batch and how far it got; `_WORK` in compiled_carrier.py. */
struct work {
    const struct leg *const *legs;
    const struct run *const *runs;
    int32_t leg_count, run_count;
    int32_t fd;
    int32_t start;              /* the leg that comes first */
    int32_t done, run, segment; /* legs finished; of the next one, runs and packets that left */
};

struct place {
    int32_t done, run, segment;
};

struct sender {
    struct libcrypto libcrypto;
    struct mmsghdr messages[MESSAGES];
    struct iovec vectors[MESSAGES];
    struct place after[MESSAGES]; /* where the work stands once that message has left */
    union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } controls[MESSAGES];
    uint8_t buffer[BUFFER_BYTES];
};

static int load(struct libcrypto *to, void *library)
{
    *(void **)&to->context_new = dlsym(library, "EVP_CIPHER_CTX_new");
    *(void **)&to->context_free = dlsym(library, "EVP_CIPHER_CTX_free");
    *(void **)&to->aes_128_gcm = dlsym(library, "EVP_aes_128_gcm");
    *(void **)&to->init = dlsym(library, "EVP_EncryptInit_ex");
    *(void **)&to->update = dlsym(library, "EVP_EncryptUpdate");
    *(void **)&to->final = dlsym(library, "EVP_EncryptFinal_ex");
    *(void **)&to->parameters = dlsym(library, "EVP_CIPHER_CTX_get_params");
    return to->context_new && to->context_free && to->aes_128_gcm && to->init && to->update &&
           to->final && to->parameters;
}

/* A sender by the libcrypto of this file, or NULL; it lives as long as the process. */
struct sender *hawker_open(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    struct sender *sender = library ? calloc(1, sizeof *sender) : NULL;
    if (sender && load(&sender->libcrypto, library))
        return sender;
    free(sender);
    if (library)
        dlclose(library);
    return NULL;
}

/* A cipher context with a key of 16 bytes, or NULL; `hawker_forget` frees it. */
void *hawker_cipher(struct sender *sender, const uint8_t *key)
{
    const struct libcrypto *crypto = &sender->libcrypto;
    void *cipher = crypto->context_new();
    if (cipher && crypto->init(cipher, crypto->aes_128_gcm(), NULL, key, NULL) == 1)
        return cipher;
    if (cipher)
        crypto->context_free(cipher);
    return NULL;
}

void hawker_forget(struct sender *sender, void *cipher)
{
    sender->libcrypto.context_free(cipher);
}

static void put(uint8_t *to, uint64_t value, int bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* The SRTP packet of a plain one, with the viewer's own number; false if it fails. */
static int seal(const struct libcrypto *crypto, const struct leg *leg, uint32_t ssrc,
                const struct packet *packet, const uint8_t *payload, int body, uint8_t *out)
{
    int length = 0, rest = 0;
    uint8_t nonce[NONCE_BYTES] = {0}, *cipher = out + HEADER_BYTES;
    struct parameter tag[] = {{"tag", OCTETS, cipher + body, TAG_BYTES, 0}, {0}};
    uint64_t number = packet->index + (uint64_t)leg->offset;
    put(out, packet->flags, 2);
    put(out + 2, number, 2);
    put(out + 4, packet->timestamp, 4);
    put(out + 8, ssrc, 4);
    put(nonce + 2, ssrc, 4);
    put(nonce + 6, number - (uint64_t)leg->rollover, 6);
    for (int at = 0; at < NONCE_BYTES; at++)
        nonce[at] ^= leg->salt[at];
    return crypto->init(leg->cipher, NULL, NULL, NULL, nonce) == 1 &&
           crypto->update(leg->cipher, NULL, &length, out, HEADER_BYTES) == 1 &&
           crypto->update(leg->cipher, cipher, &length, payload, body) == 1 &&
           crypto->final(leg->cipher, cipher + length, &rest) == 1 &&
           crypto->parameters(leg->cipher, tag) == 1; /* 15 ns less than EVP_CIPHER_CTX_ctrl */
}

/* Seal packets of a run from `first` to before `last`; their bytes, or 0. */
static size_t seal_run(const struct libcrypto *crypto, const struct leg *leg,
                       const struct run *run, uint32_t first, uint32_t last, uint8_t *out)
{
    const uint8_t *payload = (const uint8_t *)(run->packets + run->count);
    size_t written = 0;
    payload += (size_t)first * run->payload_bytes;
    for (uint32_t at = first; at < last; at++) {
        uint32_t body = at + 1 == run->count ? run->last_bytes : run->payload_bytes;
        const struct packet *packet = &run->packets[at];
        if (!seal(crypto, leg, run->ssrc, packet, payload, (int)body, out + written))
            return 0;
        payload += body;
        written += HEADER_BYTES + body + TAG_BYTES;
    }
    return written;
}

static void address(struct sender *sender, int number, const struct leg *leg, size_t at,
                    size_t bytes, uint16_t segment_bytes)
{
    struct msghdr *header = &sender->messages[number].msg_hdr;
    sender->vectors[number] = (struct iovec){sender->buffer + at, bytes};
    *header = (struct msghdr){
        .msg_name = (void *)leg->address,
        .msg_namelen = leg->address_bytes,
        .msg_iov = &sender->vectors[number],
        .msg_iovlen = 1,
    };
    if (!segment_bytes)
        return;
    header->msg_control = &sender->controls[number];
    header->msg_controllen = sizeof sender->controls[number].bytes;
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    control->cmsg_level = UDP_LEVEL;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof segment_bytes);
    memcpy(CMSG_DATA(control), &segment_bytes, sizeof segment_bytes);
}

static const struct leg *leg_at(const struct work *work, int32_t done)
{
    return work->legs[(work->start + done) % work->leg_count];
}

/* Seal as many messages as there is room for; how many. */
static int fill(struct sender *sender, const struct work *work)
{
    struct place place = {work->done, work->run, work->segment};
    size_t used = 0;
    int count = 0;
    while (count < MESSAGES && place.done < work->leg_count) {
        const struct leg *leg = leg_at(work, place.done);
        if (!leg->address_bytes)
            break;
        const struct run *run = work->runs[place.run];
        int whole = leg->gso && run->count > 1 && !place.segment;
        uint32_t last = whole ? run->count : (uint32_t)place.segment + 1;
        uint32_t packet_bytes = HEADER_BYTES + run->payload_bytes + TAG_BYTES;
        size_t room = (size_t)(last - (uint32_t)place.segment) * packet_bytes;
        if (used + room > BUFFER_BYTES)
            break;
        size_t bytes = seal_run(&sender->libcrypto, leg, run, (uint32_t)place.segment, last,
                                sender->buffer + used);
        if (!bytes)
            break;
        address(sender, count, leg, used, bytes, whole ? (uint16_t)packet_bytes : 0);
        used += bytes;
        place.segment = (int32_t)last;
        if (last == run->count) {
            place.segment = 0;
            if (++place.run == work->run_count) {
                place.run = 0;
                place.done++;
            }
        }
        sender->after[count++] = place;
    }
    return count;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Serve legs for `limit_ns`, for one sendmmsg at least. 0, NOT_OURS, or the errno of what comes next. */
int hawker_send(struct sender *sender, struct work *work, int64_t limit_ns)
{
    int64_t until = now_ns() + limit_ns;
    do {
        if (!leg_at(work, work->done)->address_bytes)
            return NOT_OURS;
        int count = fill(sender, work);
        if (!count)
            return EBADMSG;
        for (int sent = 0; sent < count;) {
            int more = sendmmsg(work->fd, sender->messages + sent, (unsigned)(count - sent), 0);
            if (more < 0)
                return errno;
            sent += more;
            work->done = sender->after[sent - 1].done;
            work->run = sender->after[sent - 1].run;
            work->segment = sender->after[sent - 1].segment;
        }
    } while (work->done < work->leg_count && now_ns() < until);
    return 0;
}
