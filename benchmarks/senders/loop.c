/* The practical floor: encrypt and send one frame to all viewers, in the tightest loop there is.
 *
 * AES-128-GCM by libcrypto, all packets of a viewer in one message with UDP_SEGMENT, ROUND viewers in one
 * sendmmsg. Nothing is paced, kept, counted or told apart; an error ends the run.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { HEADER = 12, TAG = 16, ROUND = 12, FRAME = 1 << 14, GET_TAG = 0x10, UDP_SEGMENT = 103 };

struct viewer {
    void *cipher;
    uint8_t salt[12];
    struct sockaddr_in address;
};

static void *(*context_new)(void);
static const void *(*aes_128_gcm)(void);
static int (*init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
static int (*update)(void *, uint8_t *, int *, const uint8_t *, int);
static int (*final)(void *, uint8_t *, int *);
static int (*control)(void *, int, int, void *);

int loop_open(const char *libcrypto)
{
    void *library = dlopen(libcrypto, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return 0;
    *(void **)&context_new = dlsym(library, "EVP_CIPHER_CTX_new");
    *(void **)&aes_128_gcm = dlsym(library, "EVP_aes_128_gcm");
    *(void **)&init = dlsym(library, "EVP_EncryptInit_ex");
    *(void **)&update = dlsym(library, "EVP_EncryptUpdate");
    *(void **)&final = dlsym(library, "EVP_EncryptFinal_ex");
    *(void **)&control = dlsym(library, "EVP_CIPHER_CTX_ctrl");
    return context_new && aes_128_gcm && init && update && final && control;
}

void *loop_cipher(const uint8_t *key)
{
    void *cipher = context_new();
    return cipher && init(cipher, aes_128_gcm(), 0, key, 0) == 1 ? cipher : 0;
}

/* `plain`: packets one after the other, each a header and its payload; true when all has left. */
int loop_send(int fd, struct viewer *viewers, int count, const uint8_t *plain,
              const uint16_t *sizes, int packets)
{
    static uint8_t out[ROUND][FRAME];
    static struct mmsghdr messages[ROUND];
    static struct iovec vectors[ROUND];
    static union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(2)];
    } controls[ROUND];
    for (int first = 0; first < count; first += ROUND) {
        int round = count - first < ROUND ? count - first : ROUND;
        for (int number = 0; number < round; number++) {
            struct viewer *viewer = &viewers[first + number];
            const uint8_t *from = plain;
            uint8_t *to = out[number];
            for (int packet = 0; packet < packets; packet++) {
                int length, body = sizes[packet] - HEADER;
                uint8_t nonce[12] = {0};
                memcpy(nonce + 2, from + 8, 4);  /* SSRC */
                memcpy(nonce + 10, from + 2, 2); /* sequence number; no roll-over here */
                for (int at = 0; at < 12; at++)
                    nonce[at] ^= viewer->salt[at];
                memcpy(to, from, HEADER);
                if (init(viewer->cipher, 0, 0, 0, nonce) != 1 ||
                    update(viewer->cipher, 0, &length, to, HEADER) != 1 ||
                    update(viewer->cipher, to + HEADER, &length, from + HEADER, body) != 1 ||
                    final(viewer->cipher, to + HEADER + body, &length) != 1 ||
                    control(viewer->cipher, GET_TAG, TAG, to + HEADER + body) != 1)
                    return 0;
                from += sizes[packet];
                to += sizes[packet] + TAG;
            }
            struct msghdr *header = &messages[number].msg_hdr;
            uint16_t segment = (uint16_t)(sizes[0] + TAG);
            vectors[number] = (struct iovec){out[number], (size_t)(to - out[number])};
            *header = (struct msghdr){&viewer->address, sizeof viewer->address, &vectors[number], 1,
                                      &controls[number], sizeof controls[number].bytes, 0};
            struct cmsghdr *told = CMSG_FIRSTHDR(header);
            told->cmsg_level = IPPROTO_UDP;
            told->cmsg_type = UDP_SEGMENT;
            told->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(told), &segment, sizeof segment);
        }
        if (sendmmsg(fd, messages, (unsigned)round, 0) != round)
            return 0;
    }
    return 1;
}
