/* A data channel's short way: a message of one chunk sealed and sent, an acknowledgement opened and read.
 *
 * A lane is one DTLS session (RFC 5288, RFC 6347) with its SCTP association (RFC 9260). What is done here
 * is `Sctp._send_body` with `GcmRecords.seal`, and `GcmRecords.open` with the checks of a plain SACK, with
 * the same bytes and the same window against replays; numbers stand in the lane, which Python goes by
 * too. A record that is anything else than one plain SACK is left as it came, and is not marked as seen.
 *
 * Structures stand in compiled_records.py as they stand here.
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
    RECORDS = 32, /* in one sendmmsg */
    DATA_BYTES = 1200,
    HEADER_BYTES = 13,
    EXPLICIT_BYTES = 8, /* of the nonce, in the record */
    SALT_BYTES = 4,
    TAG_BYTES = 16,
    PORTS_BYTES = 8, /* with the tag behind them */
    SCTP_BYTES = 12,
    CHUNK_BYTES = 16,
    SACK_BYTES = SCTP_BYTES + 16,
    SEALED_SACK_BYTES = HEADER_BYTES + EXPLICIT_BYTES + SACK_BYTES + TAG_BYTES,
    PACKET_BYTES = SCTP_BYTES + CHUNK_BYTES + DATA_BYTES,
    RECORD_BYTES = HEADER_BYTES + EXPLICIT_BYTES + PACKET_BYTES + TAG_BYTES,
    ADDRESS_BYTES = 28, /* sockaddr_in6 */
    VERSION = 0xFEFD,
    APPLICATION_DATA = 23,
    EPOCH = 1,
    WINDOW = 64,
    SACK = 3,
    SET_TAG = 0x11, /* EVP_CTRL_AEAD_SET_TAG */
    OCTETS = 5,     /* OSSL_PARAM_OCTET_STRING */
    NOT_OURS = -1,
};

/* OSSL_PARAM of OpenSSL 3. */
struct parameter {
    const char *key;
    unsigned int type;
    void *data;
    size_t bytes, returned;
};

struct lane {
    struct outlet *outlet;
    void *sealer, *opener; /* contexts with the keys of the two directions */
    uint64_t number, nonce; /* of the next record; the epoch is in the upper 16 bits */
    uint64_t newest, seen;  /* bit n: the record n before the newest has been opened */
    uint64_t left_in;       /* the batch in which Python was left a datagram of this lane */
    uint32_t tag;           /* what the peer's packets bear */
    uint32_t address_bytes; /* 0: Python has to send */
    uint8_t sealer_salt[SALT_BYTES], opener_salt[SALT_BYTES];
    uint8_t ports[PORTS_BYTES]; /* how our packets begin */
    uint8_t address[ADDRESS_BYTES];
};

struct outlet {
    int (*seal_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*seal)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*seal_final)(void *, uint8_t *, int *);
    int (*parameters)(void *, struct parameter *);
    int (*open_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*open)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*open_final)(void *, uint8_t *, int *);
    int (*control)(void *, int, int, void *);
    const void *(*aes_128_gcm)(void);
    void *(*context_new)(void);
    void (*context_free)(void *);
    uint32_t crc[8][256];
    int fd, waiting, lost;
    struct mmsghdr messages[RECORDS];
    struct iovec vectors[RECORDS];
    uint8_t addresses[RECORDS][ADDRESS_BYTES];
    uint8_t records[RECORDS][RECORD_BYTES];
};

static int load(struct outlet *to, void *library)
{
    *(void **)&to->seal_init = dlsym(library, "EVP_EncryptInit_ex");
    *(void **)&to->seal = dlsym(library, "EVP_EncryptUpdate");
    *(void **)&to->seal_final = dlsym(library, "EVP_EncryptFinal_ex");
    *(void **)&to->parameters = dlsym(library, "EVP_CIPHER_CTX_get_params");
    *(void **)&to->open_init = dlsym(library, "EVP_DecryptInit_ex");
    *(void **)&to->open = dlsym(library, "EVP_DecryptUpdate");
    *(void **)&to->open_final = dlsym(library, "EVP_DecryptFinal_ex");
    *(void **)&to->control = dlsym(library, "EVP_CIPHER_CTX_ctrl");
    *(void **)&to->aes_128_gcm = dlsym(library, "EVP_aes_128_gcm");
    *(void **)&to->context_new = dlsym(library, "EVP_CIPHER_CTX_new");
    *(void **)&to->context_free = dlsym(library, "EVP_CIPHER_CTX_free");
    return to->seal_init && to->seal && to->seal_final && to->parameters && to->open_init &&
           to->open && to->open_final && to->control && to->aes_128_gcm && to->context_new &&
           to->context_free;
}

/* CRC32c (RFC 9260 Appendix A), eight bytes at a time. */
static void tabulate(uint32_t crc[8][256])
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0x82F63B78 : 0);
        crc[0][byte] = value;
    }
    for (int ahead = 1; ahead < 8; ahead++)
        for (int byte = 0; byte < 256; byte++)
            crc[ahead][byte] = crc[ahead - 1][byte] >> 8 ^ crc[0][crc[ahead - 1][byte] & 255];
}

static uint32_t checksum(const uint32_t crc[8][256], const uint8_t *data, size_t bytes)
{
    uint32_t sum = 0xFFFFFFFF;
    for (; bytes >= 8; bytes -= 8, data += 8) {
        sum ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
               (uint32_t)data[3] << 24;
        sum = crc[7][sum & 255] ^ crc[6][sum >> 8 & 255] ^ crc[5][sum >> 16 & 255] ^
              crc[4][sum >> 24] ^ crc[3][data[4]] ^ crc[2][data[5]] ^ crc[1][data[6]] ^
              crc[0][data[7]];
    }
    while (bytes--)
        sum = sum >> 8 ^ crc[0][(sum ^ *data++) & 255];
    return ~sum;
}

/* An outlet of this socket by the libcrypto of this file, or NULL. */
struct outlet *hawker_outlet(const char *path, int fd)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    struct outlet *outlet = library ? calloc(1, sizeof *outlet) : NULL;
    if (outlet && load(outlet, library)) {
        outlet->fd = fd;
        tabulate(outlet->crc);
        return outlet;
    }
    free(outlet);
    if (library)
        dlclose(library);
    return NULL;
}

void hawker_outlet_free(struct outlet *outlet)
{
    free(outlet); /* every lane is closed by then */
}

/* The socket is to be closed: what is said from now on is lost. */
void hawker_outlet_close(struct outlet *outlet)
{
    outlet->fd = -1;
}

/* Give a lane its contexts, by keys of 16 bytes; false if there are none to be had. */
int hawker_lane_open(struct outlet *outlet, struct lane *lane, const uint8_t *sealer,
                     const uint8_t *opener)
{
    lane->sealer = outlet->context_new();
    lane->opener = outlet->context_new();
    lane->outlet = outlet;
    return lane->sealer && lane->opener &&
           outlet->seal_init(lane->sealer, outlet->aes_128_gcm(), NULL, sealer, NULL) == 1 &&
           outlet->open_init(lane->opener, outlet->aes_128_gcm(), NULL, opener, NULL) == 1;
}

void hawker_lane_close(struct lane *lane)
{
    lane->outlet->context_free(lane->sealer); /* NULL will do */
    lane->outlet->context_free(lane->opener);
    lane->sealer = lane->opener = NULL;
    lane->address_bytes = 0;
}

static void put(uint8_t *to, uint64_t value, int bytes)
{
    while (bytes--) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t number(const uint8_t *data, int bytes)
{
    uint64_t value = 0;
    while (bytes--)
        value = value << 8 | *data++;
    return value;
}

/* What the tag also covers (RFC 5246 §6.2.3.3). */
static void cover(uint8_t *bound, uint64_t record, int bytes)
{
    put(bound, record, 8);
    put(bound + 8, APPLICATION_DATA, 1);
    put(bound + 9, VERSION, 2);
    put(bound + 11, (uint64_t)bytes, 2);
}

/* Send what waits; how many the kernel did not take, and how many could not be sealed before. */
int hawker_flush(struct outlet *outlet)
{
    int sent = 0, lost = outlet->lost, ready = outlet->waiting;
    outlet->waiting = outlet->lost = 0;
    while (sent < ready) {
        int more = sendmmsg(outlet->fd, outlet->messages + sent, (unsigned)(ready - sent), 0);
        if (more > 0) {
            sent += more;
        } else if (errno != EINTR) { /* of the next one alone: as a sendto of its own would be lost */
            sent++;
            lost++;
        }
    }
    return lost;
}

/* The packet of one DATA chunk; its bytes. */
static int packet(const struct lane *lane, const uint32_t crc[8][256], uint32_t what, uint32_t tsn,
                  uint32_t sequence, const uint8_t *data, uint32_t bytes, uint8_t *out)
{
    uint32_t padding = -bytes & 3;
    memcpy(out, lane->ports, PORTS_BYTES);
    put(out + PORTS_BYTES, 0, 4);
    put(out + 12, what & 0xFF, 2); /* type 0, flags */
    put(out + 14, CHUNK_BYTES + bytes, 2);
    put(out + 16, tsn, 4);
    put(out + 20, what >> 16, 2); /* the stream */
    put(out + 22, sequence, 2);
    put(out + 24, what >> 8 & 0xFF, 4); /* payload protocol identifier */
    memcpy(out + SCTP_BYTES + CHUNK_BYTES, data, bytes);
    memset(out + SCTP_BYTES + CHUNK_BYTES + bytes, 0, padding);
    int size = (int)(SCTP_BYTES + CHUNK_BYTES + bytes + padding);
    uint32_t sum = checksum(crc, out, (size_t)size);
    for (int at = 0; at < 4; at++)
        out[PORTS_BYTES + at] = (uint8_t)(sum >> 8 * at);
    return size;
}

/* Seal in place the packet of so many bytes that stands in a record; false if it fails. */
static int seal(struct lane *lane, uint8_t *record, int bytes)
{
    const struct outlet *outlet = lane->outlet;
    int length = 0, rest = 0;
    uint8_t nonce[SALT_BYTES + EXPLICIT_BYTES], bound[HEADER_BYTES];
    uint8_t *body = record + HEADER_BYTES + EXPLICIT_BYTES;
    struct parameter tag[] = {{"tag", OCTETS, body + bytes, TAG_BYTES, 0}, {0}};
    uint64_t own = lane->number++;
    put(record, APPLICATION_DATA, 1);
    put(record + 1, VERSION, 2);
    put(record + 3, own, 8);
    put(record + 11, (uint64_t)(EXPLICIT_BYTES + bytes + TAG_BYTES), 2);
    put(record + HEADER_BYTES, lane->nonce++, EXPLICIT_BYTES);
    memcpy(nonce, lane->sealer_salt, SALT_BYTES);
    memcpy(nonce + SALT_BYTES, record + HEADER_BYTES, EXPLICIT_BYTES);
    cover(bound, own, bytes);
    return outlet->seal_init(lane->sealer, NULL, NULL, NULL, nonce) == 1 &&
           outlet->seal(lane->sealer, NULL, &length, bound, HEADER_BYTES) == 1 &&
           outlet->seal(lane->sealer, body, &length, body, bytes) == 1 &&
           outlet->seal_final(lane->sealer, body + length, &rest) == 1 &&
           outlet->parameters(lane->sealer, tag) == 1;
}

/* Seal a message of one chunk, to leave with others: how many wait then; 0 when all have been sent, or
 * NOT_OURS. `what`: stream, protocol (a byte) and flags, from the upper bits to the lower.
 */
int hawker_say(struct lane *lane, uint32_t what, uint32_t tsn, uint32_t sequence,
               const uint8_t *data, uint32_t bytes)
{
    if (!lane->address_bytes || bytes > DATA_BYTES)
        return NOT_OURS;
    struct outlet *outlet = lane->outlet;
    int at = outlet->waiting;
    uint8_t *record = outlet->records[at];
    int size = packet(lane, outlet->crc, what, tsn, sequence, data, bytes,
                      record + HEADER_BYTES + EXPLICIT_BYTES);
    if (!seal(lane, record, size)) {
        outlet->lost++;
        return at;
    }
    memcpy(outlet->addresses[at], lane->address, ADDRESS_BYTES);
    outlet->vectors[at] = (struct iovec){
        record, (size_t)(HEADER_BYTES + EXPLICIT_BYTES + size + TAG_BYTES)};
    outlet->messages[at].msg_hdr = (struct msghdr){
        .msg_name = outlet->addresses[at],
        .msg_namelen = lane->address_bytes,
        .msg_iov = &outlet->vectors[at],
        .msg_iovlen = 1,
    };
    if (++outlet->waiting == RECORDS)
        outlet->lost = hawker_flush(outlet);
    return outlet->waiting;
}

/* Whether a record of this number would be new (RFC 6347 §4.1.2.6). */
static int is_new(const struct lane *lane, uint64_t record)
{
    if (record >> 48 != EPOCH)
        return 0;
    if (record > lane->newest)
        return 1;
    uint64_t behind = lane->newest - record;
    return behind < WINDOW && !(lane->seen >> behind & 1);
}

static void mark(struct lane *lane, uint64_t record)
{
    if (record > lane->newest) {
        uint64_t ahead = record - lane->newest;
        lane->seen = (ahead < WINDOW ? lane->seen << ahead : 0) | 1;
        lane->newest = record;
    } else {
        lane->seen |= UINT64_C(1) << (lane->newest - record);
    }
}

static int decrypt(const struct lane *lane, const uint8_t *record, uint8_t *plain)
{
    const struct outlet *outlet = lane->outlet;
    int length = 0, rest = 0;
    const uint8_t *body = record + HEADER_BYTES + EXPLICIT_BYTES;
    uint8_t nonce[SALT_BYTES + EXPLICIT_BYTES], bound[HEADER_BYTES], tag[TAG_BYTES];
    memcpy(nonce, lane->opener_salt, SALT_BYTES);
    memcpy(nonce + SALT_BYTES, record + HEADER_BYTES, EXPLICIT_BYTES);
    memcpy(tag, body + SACK_BYTES, TAG_BYTES);
    cover(bound, number(record + 3, 8), SACK_BYTES);
    return outlet->open_init(lane->opener, NULL, NULL, NULL, nonce) == 1 &&
           outlet->open(lane->opener, NULL, &length, bound, HEADER_BYTES) == 1 &&
           outlet->open(lane->opener, plain, &length, body, SACK_BYTES) == 1 &&
           outlet->control(lane->opener, SET_TAG, TAG_BYTES, tag) == 1 &&
           outlet->open_final(lane->opener, plain + length, &rest) == 1;
}

/* Whether it is a packet of the peer's, of a SACK that has neither gaps nor duplicates (§3.3.4, §6.8). */
static int is_plain(const struct lane *lane, uint8_t *plain)
{
    uint32_t sum = 0;
    if (plain[SCTP_BYTES] != SACK || number(plain + 14, 2) != SACK_BYTES - SCTP_BYTES ||
        number(plain + 24, 4) || number(plain + 4, 4) != lane->tag)
        return 0;
    for (int at = 3; at >= 0; at--)
        sum = sum << 8 | plain[PORTS_BYTES + at];
    put(plain + PORTS_BYTES, 0, 4);
    return checksum(lane->outlet->crc, plain, SACK_BYTES) == sum;
}

/* Read a datagram that came in this batch: true for a plain SACK, of which this is the cumulative TSN
 * and the window in bytes; else, and whatever follows of that lane in that batch, it is Python's.
 */
int hawker_acknowledged(struct lane *lane, uint64_t batch, const uint8_t *record, uint32_t bytes,
                        uint32_t *tsn, uint32_t *window)
{
    uint8_t plain[SACK_BYTES + TAG_BYTES];
    if (lane->left_in == batch || !lane->opener)
        return 0;
    lane->left_in = batch;
    if (bytes != SEALED_SACK_BYTES || record[0] != APPLICATION_DATA ||
        number(record + 11, 2) != SEALED_SACK_BYTES - HEADER_BYTES)
        return 0;
    uint64_t own = number(record + 3, 8);
    if (!is_new(lane, own) || !decrypt(lane, record, plain) || !is_plain(lane, plain))
        return 0;
    mark(lane, own);
    lane->left_in = 0;
    *tsn = (uint32_t)number(plain + 16, 4);
    *window = (uint32_t)number(plain + 20, 4);
    return 1;
}
