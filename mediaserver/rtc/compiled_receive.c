/* The compiled receiver: decrypts a batch of RTP and reads its headers, where Python knows the source.
 *
 * It does what `Session.on_srtp` and `rtp.parse` do in Python. A route is one SSRC from one address that
 * has been heard by Python before, with its session's context of libsrtp, whose own srtp_unprotect is
 * called: keys, replays and rollovers are in one place whoever decrypts. From an address with a lane (see
 * compiled_records.c) plain acknowledgements of data channels are read. Anything else (STUN, other DTLS,
 * RTCP, strangers) is left as it came, for Python.
 *
 * Structures stand in compiled_receive.py and datagrams.py as they stand here.
 */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    NAME_BYTES = 28, /* sockaddr_in6 */
    BUCKETS = 1 << 13,
    HEADER_BYTES = 12,
    DATAGRAM_BYTES = 1500,
    STAMP = 35, /* SO_TIMESTAMPNS */
};

enum kind { UNTOUCHED, PARSED, DECRYPTED, REFUSED, ACKNOWLEDGED };

struct lane;

struct route {
    struct route *next;
    void *context; /* of libsrtp, or a lane */
    uint64_t number;
    uint32_t ssrc;
    uint8_t name[NAME_BYTES];
};

struct table {
    int (*unprotect)(void *context, void *packet, int *bytes);
    uint64_t batches; /* read so far */
    struct route *buckets[BUCKETS];
    struct route *lanes[BUCKETS]; /* their SSRC is 0 */
};

/* What the kernel wrote about a datagram; `Envelope` in datagrams.py. */
struct envelope {
    size_t control_bytes;
    int32_t level, kind;
    int64_t seconds, nanoseconds;
    uint8_t name[NAME_BYTES];
};

/* A datagram as Python reads it; places are counted from the start of the memory of all. */
struct record {
    double arrival;
    uint64_t route;
    uint32_t extension, payload, end;
    uint32_t timestamp, ssrc;
    uint16_t sequence, profile;
    uint8_t kind, payload_type, marker, unused[5];
};

struct batch {
    uint8_t *memory;
    const struct mmsghdr *messages;
    const struct envelope *envelopes;
    struct record *records;
    uint32_t stride, count;
    double now, ahead_s, waited_most_s; /* `ahead_s`: of the stamps' clock, which Python goes by */
};

int hawker_acknowledged(struct lane *lane, uint64_t batch, const uint8_t *record, uint32_t bytes,
                        uint32_t *tsn, uint32_t *window);

/* A table of routes that decrypts by this function of libsrtp, or NULL. */
struct table *hawker_table(void *unprotect)
{
    struct table *table = calloc(1, sizeof *table);
    if (table)
        *(void **)&table->unprotect = unprotect;
    return table;
}

void hawker_table_free(struct table *table)
{
    free(table); /* every route is unlearnt by then */
}

static struct route **bucket(struct route **buckets, const uint8_t *name, uint32_t ssrc)
{
    uint64_t words[NAME_BYTES / 8], mixed = ssrc;
    memcpy(words, name, sizeof words);
    for (size_t at = 0; at < NAME_BYTES / 8; at++) {
        mixed = (mixed ^ words[at]) * UINT64_C(0x9E3779B97F4A7C15);
        mixed ^= mixed >> 29;
    }
    return &buckets[mixed % BUCKETS];
}

static struct route *find(struct route **buckets, const uint8_t *name, uint32_t ssrc)
{
    struct route *route = *bucket(buckets, name, ssrc);
    while (route && (route->ssrc != ssrc || memcmp(route->name, name, NAME_BYTES)))
        route = route->next;
    return route;
}

static int learn(struct route **buckets, const uint8_t *name, uint32_t ssrc, void *context,
                 uint64_t number)
{
    struct route **first = bucket(buckets, name, ssrc), *route = calloc(1, sizeof *route);
    if (!route)
        return 0;
    route->next = *first;
    route->context = context;
    route->number = number;
    route->ssrc = ssrc;
    memcpy(route->name, name, NAME_BYTES);
    *first = route;
    return 1;
}

static void unlearn(struct route **buckets, const uint8_t *name, uint32_t ssrc)
{
    struct route **place = bucket(buckets, name, ssrc), *route = find(buckets, name, ssrc);
    if (!route)
        return;
    while (*place != route)
        place = &(*place)->next;
    *place = route->next;
    free(route);
}

/* Go by this route from now on; false where there is no memory for it. */
int hawker_learn(struct table *table, const uint8_t *name, uint32_t ssrc, void *context,
                 uint64_t number)
{
    return learn(table->buckets, name, ssrc, context, number);
}

void hawker_unlearn(struct table *table, const uint8_t *name, uint32_t ssrc)
{
    unlearn(table->buckets, name, ssrc);
}

/* The same for the lane of this address. */
int hawker_learn_lane(struct table *table, const uint8_t *name, struct lane *lane, uint64_t number)
{
    return learn(table->lanes, name, 0, lane, number);
}

void hawker_unlearn_lane(struct table *table, const uint8_t *name)
{
    unlearn(table->lanes, name, 0);
}

static uint32_t number(const uint8_t *data, int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | *data++;
    return value;
}

/* Read the header of a packet as nearly all are; false for any other, and for what is none. */
static int parse(const uint8_t *packet, uint32_t bytes, struct record *record)
{
    uint32_t start = HEADER_BYTES, padding = 0;
    if (bytes < HEADER_BYTES || (packet[0] & ~0x30) != 0x80) /* version 2, no CSRCs */
        return 0;
    record->profile = 0;
    record->extension = record->payload; /* empty, unless there is one */
    if (packet[0] & 0x10) {
        if (bytes < HEADER_BYTES + 4)
            return 0;
        record->profile = (uint16_t)number(packet + 12, 2);
        record->extension = record->payload + HEADER_BYTES + 4;
        start += 4 + 4 * number(packet + 14, 2);
    } else {
        record->extension = record->payload + HEADER_BYTES;
    }
    if (packet[0] & 0x20) {
        padding = packet[bytes - 1];
        if (!padding)
            return 0;
    }
    if (start + padding > bytes)
        return 0;
    record->end = record->payload + bytes - padding;
    record->payload += start;
    record->marker = packet[1] >> 7;
    record->payload_type = packet[1] & 0x7F;
    record->sequence = (uint16_t)number(packet + 2, 2);
    record->timestamp = number(packet + 4, 4);
    record->ssrc = number(packet + 8, 4);
    return 1;
}

static double arrival(const struct batch *batch, const struct envelope *envelope)
{
    double stamp = (double)envelope->seconds + (double)envelope->nanoseconds * 1e-9 +
                   batch->ahead_s;
    int usable = envelope->kind == STAMP && stamp < batch->now &&
                 stamp > batch->now - batch->waited_most_s;
    return usable ? stamp : batch->now;
}

static enum kind read_acknowledgement(struct table *table, const uint8_t *datagram, uint32_t bytes,
                                      const uint8_t *name, struct record *record)
{
    const struct route *route = find(table->lanes, name, 0);
    if (!route || !hawker_acknowledged(route->context, table->batches, datagram, bytes,
                                       &record->timestamp, &record->ssrc))
        return UNTOUCHED;
    record->route = route->number;
    return ACKNOWLEDGED;
}

static enum kind open_one(struct table *table, uint8_t *packet, uint32_t bytes, const uint8_t *name,
                          struct record *record)
{
    if (bytes < HEADER_BYTES || bytes > DATAGRAM_BYTES)
        return UNTOUCHED;
    if (packet[0] >= 20 && packet[0] < 64)
        return read_acknowledgement(table, packet, bytes, name, record);
    if (packet[0] >> 6 != 2 ||
        (packet[1] >= 192 && packet[1] <= 223)) /* RTCP, RFC 5761 */
        return UNTOUCHED;
    const struct route *route = find(table->buckets, name, number(packet + 8, 4));
    if (!route)
        return UNTOUCHED;
    int length = (int)bytes;
    record->route = route->number;
    if (table->unprotect(route->context, packet, &length))
        return REFUSED;
    record->end = record->payload + (uint32_t)length;
    return parse(packet, (uint32_t)length, record) ? PARSED : DECRYPTED;
}

/* Write the records of a batch, decrypting in place. */
void hawker_open_batch(struct table *table, const struct batch *batch)
{
    table->batches++;
    for (uint32_t at = 0; at < batch->count; at++) {
        const struct envelope *envelope = &batch->envelopes[at];
        struct record *record = &batch->records[at];
        uint32_t place = at * batch->stride, bytes = batch->messages[at].msg_len;
        *record = (struct record){.payload = place, .end = place + bytes};
        record->arrival = arrival(batch, envelope);
        record->kind = (uint8_t)open_one(table, batch->memory + place, bytes, envelope->name, record);
    }
}
