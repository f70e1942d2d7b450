/* What the scripted server needs to speak RFC 6455: growing buffers, SHA-1, base64, frames, and a
 * notation for streams of frames that tests can be written in.
 *
 * All of it is independent of mtws.h, so that an error there can't hide behind the same error here.
 *
 * The notation: items divided by blanks, each  [prefix.]kind[-][:payload | =size]
 *
 *     text bin cont ping pong close     a frame of that opcode; opN: of opcode N
 *     -                                 behind the kind: not final
 *     :payload                          as it stands, %NN being a byte in hexadecimal
 *     =size                             so many bytes of filler, ASCII for text and cont
 *     close:1000,reason                 a code and a reason; close: an empty body
 *     body:...                          a Close frame whose body is written out
 *     raw:...                           bytes that are no frame
 *     rsvN. masked. long16. long64.     prefixes: reserved bits, a mask, a length not in its
 *                                       shortest form
 *     cutN.                             a prefix: the last N bytes of the frame are left away
 */
#ifndef MTWS_TEST_WIRE_H_INCLUDED
#define MTWS_TEST_WIRE_H_INCLUDED

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers --------------------------------------------------------------------------------- */

typedef struct wire_buffer {
    uint8_t *data; /* always followed by a 0 once something was added */
    size_t size, capacity;
} wire_buffer;

static void *wire_grow(void *old, size_t size) {
    void *grown = realloc(old, size);
    if (grown == NULL) {
        fputs("the test is out of memory\n", stderr);
        abort();
    }
    return grown;
}

TEST_UNUSED static void wire_add(wire_buffer *to, const void *data, size_t size) {
    if (to->capacity < to->size + size + 1) {
        to->capacity = (to->size + size + 1) * 2;
        to->data = (uint8_t *)wire_grow(to->data, to->capacity);
    }
    if (size > 0) {
        memcpy(to->data + to->size, data, size);
    }
    to->size += size;
    to->data[to->size] = 0;
}

TEST_UNUSED static void wire_add_byte(wire_buffer *to, unsigned value) {
    uint8_t byte = (uint8_t)value;
    wire_add(to, &byte, 1);
}

TEST_UNUSED static void wire_add_text(wire_buffer *to, const char *text) {
    wire_add(to, text, strlen(text));
}

TEST_PRINTF(2, 3) static void wire_print(wire_buffer *to, const char *format, ...) {
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    wire_add_text(to, text);
}

TEST_UNUSED static void wire_free(wire_buffer *buffer) {
    free(buffer->data);
    buffer->data = NULL;
    buffer->size = buffer->capacity = 0;
}

/* The buffer as a string; never NULL. */
TEST_UNUSED static const char *wire_text(const wire_buffer *buffer) {
    return buffer->data == NULL ? "" : (const char *)buffer->data;
}

TEST_UNUSED static uint64_t wire_hash(const void *data, size_t size) {
    const uint8_t *bytes = (const uint8_t *)data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

/* ---- SHA-1 and base64, for Sec-WebSocket-Accept ---------------------------------------------- */

static uint32_t wire_rotate(uint32_t value, unsigned by) {
    return (value << by) | (value >> (32 - by));
}

static void wire_sha1_block(uint32_t state[5], const uint8_t block[64]) {
    uint32_t w[80];
    for (size_t i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (size_t i = 16; i < 80; i++) {
        w[i] = wire_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (size_t i = 0; i < 80; i++) {
        uint32_t mix, constant;
        if (i < 20) {
            mix = (b & c) | (~b & d), constant = 0x5a827999u;
        } else if (i < 40) {
            mix = b ^ c ^ d, constant = 0x6ed9eba1u;
        } else if (i < 60) {
            mix = (b & c) | (b & d) | (c & d), constant = 0x8f1bbcdcu;
        } else {
            mix = b ^ c ^ d, constant = 0xca62c1d6u;
        }
        uint32_t next = wire_rotate(a, 5) + mix + e + constant + w[i];
        e = d, d = c, c = wire_rotate(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* Of texts up to 100 bytes: two blocks hold them with the padding. */
static void wire_sha1(const char *text, uint8_t digest[20]) {
    uint32_t state[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint8_t blocks[128] = {0};
    size_t size = strlen(text);
    size_t end = size < 56 ? 64 : 128;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    blocks[end - 2] = (uint8_t)(size * 8 >> 8);
    blocks[end - 1] = (uint8_t)(size * 8);
    for (size_t at = 0; at < end; at += 64) {
        wire_sha1_block(state, blocks + at);
    }
    for (size_t i = 0; i < 20; i++) {
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static const char wire_base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

TEST_UNUSED static void wire_base64(const uint8_t *data, size_t size, char *out) {
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t group = (uint32_t)data[at] << 16;
        group |= left > 1 ? (uint32_t)data[at + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)data[at + 2] : 0;
        *out++ = wire_base64_digits[group >> 18];
        *out++ = wire_base64_digits[group >> 12 & 63];
        *out++ = left > 1 ? wire_base64_digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? wire_base64_digits[group & 63] : '=';
    }
    *out = '\0';
}

/* out holds 29 bytes. */
TEST_UNUSED static void wire_accept(const char *key, char *out) {
    char joined[100];
    uint8_t digest[20];
    snprintf(joined, sizeof joined, "%.40s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    wire_sha1(joined, digest);
    wire_base64(digest, sizeof digest, out);
}

/* True for 16 bytes in base64 with the unused bits zero (RFC 6455 section 4.1). */
TEST_UNUSED static bool wire_is_key(const char *text, size_t size) {
    if (size != 24 || memcmp(text + 22, "==", 2) != 0) {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (text[i] == '\0' || strchr(wire_base64_digits, text[i]) == NULL) {
            return false;
        }
    }
    return strchr("AQgw", text[21]) != NULL;
}

/* ---- frames ---------------------------------------------------------------------------------- */

enum { WIRE_CONT = 0, WIRE_TEXT = 1, WIRE_BIN = 2, WIRE_CLOSE = 8, WIRE_PING = 9, WIRE_PONG = 10 };

/* length_form: 0 the shortest, 16 or 64 that many bits. mask: NULL, or four bytes. */
TEST_UNUSED static void wire_frame_as(wire_buffer *to, unsigned first, const void *payload,
                                      size_t size, unsigned length_form, const uint8_t *mask) {
    unsigned masked = mask != NULL ? 0x80 : 0;
    unsigned bits = length_form != 0 ? length_form : size < 126 ? 7 : size < 65536 ? 16 : 64;
    wire_add_byte(to, first);
    wire_add_byte(to, masked | (bits == 7 ? (unsigned)size : bits == 16 ? 126u : 127u));
    for (unsigned shift = bits == 7 ? 0 : bits; shift > 0; shift -= 8) {
        wire_add_byte(to, (unsigned)((uint64_t)size >> (shift - 8)) & 255);
    }
    if (mask == NULL) {
        wire_add(to, payload, size);
        return;
    }
    wire_add(to, mask, 4);
    for (size_t i = 0; i < size; i++) {
        wire_add_byte(to, ((const uint8_t *)payload)[i] ^ mask[i % 4]);
    }
}

TEST_UNUSED static void wire_frame(wire_buffer *to, unsigned opcode, bool final,
                                   const void *payload, size_t size) {
    wire_frame_as(to, opcode | (final ? 0x80u : 0), payload, size, 0, NULL);
}

/* The filler of "text=N" and of all tests that need bytes of no meaning. */
TEST_UNUSED static void wire_filler(wire_buffer *to, bool ascii, size_t size) {
    wire_add(to, NULL, 0);
    for (size_t i = 0; i < size; i++) {
        wire_add_byte(to, ascii ? 'a' + (unsigned)(i % 26) : (unsigned)(i * 7 + (i >> 8)) & 255);
    }
}

/* ---- the notation ---------------------------------------------------------------------------- */

typedef struct wire_item {
    unsigned first; /* the first byte of the frame */
    bool raw, masked;
    unsigned length_form;
    size_t cut;
    wire_buffer payload;
} wire_item;

static bool wire_skip(const char **text, const char *word) {
    size_t size = strlen(word);
    if (strncmp(*text, word, size) != 0) {
        return false;
    }
    *text += size;
    return true;
}

static size_t wire_number(const char **text) {
    size_t value = 0;
    while (**text >= '0' && **text <= '9') {
        value = value * 10 + (size_t)(*(*text)++ - '0');
    }
    return value;
}

static unsigned wire_hex(char digit) {
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)((digit | 32) - 'a' + 10);
}

static void wire_read_payload(const char **text, wire_buffer *out) {
    while (**text != '\0' && **text != ' ') {
        if (**text == '%') {
            wire_add_byte(out, wire_hex((*text)[1]) << 4 | wire_hex((*text)[2]));
            *text += 3;
        } else {
            wire_add_byte(out, (unsigned char)*(*text)++);
        }
    }
}

static unsigned wire_read_kind(const char **text, bool *close_code) {
    static const struct {
        const char *name;
        unsigned opcode;
    } kinds[] = {
        {"text", WIRE_TEXT}, {"bin", WIRE_BIN},     {"cont", WIRE_CONT},  {"ping", WIRE_PING},
        {"pong", WIRE_PONG}, {"close", WIRE_CLOSE}, {"body", WIRE_CLOSE},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (wire_skip(text, kinds[i].name)) {
            *close_code = kinds[i].name[0] == 'c' && kinds[i].opcode == WIRE_CLOSE;
            return kinds[i].opcode;
        }
    }
    if (wire_skip(text, "op")) {
        return (unsigned)wire_number(text);
    }
    fprintf(stderr, "not in the notation: %s\n", *text);
    abort();
}

static void wire_read_prefixes(const char **text, wire_item *item) {
    for (;;) {
        if (wire_skip(text, "rsv")) {
            item->first |= (unsigned)(*(*text)++ - '0') << 4;
        } else if (wire_skip(text, "masked")) {
            item->masked = true;
        } else if (wire_skip(text, "long16")) {
            item->length_form = 16;
        } else if (wire_skip(text, "long64")) {
            item->length_form = 64;
        } else if (wire_skip(text, "cut")) {
            item->cut = wire_number(text);
        } else {
            return;
        }
        wire_skip(text, ".");
    }
}

/* Reads the next item; false at the end. The payload is the caller's to free. */
static bool wire_next(const char **text, wire_item *item) {
    memset(item, 0, sizeof *item);
    while (**text == ' ') {
        ++*text;
    }
    if (**text == '\0') {
        return false;
    }
    wire_add(&item->payload, NULL, 0);
    if (wire_skip(text, "raw:")) {
        item->raw = true;
        wire_read_payload(text, &item->payload);
        return true;
    }
    bool close_code = false;
    wire_read_prefixes(text, item);
    unsigned opcode = wire_read_kind(text, &close_code);
    item->first |= opcode | (wire_skip(text, "-") ? 0 : 0x80u);
    if (wire_skip(text, "=")) {
        size_t size = wire_number(text);
        wire_filler(&item->payload, opcode == WIRE_TEXT || opcode == WIRE_CONT, size);
    } else if (wire_skip(text, ":")) {
        if (close_code) {
            unsigned code = (unsigned)wire_number(text);
            wire_add_byte(&item->payload, code >> 8);
            wire_add_byte(&item->payload, code & 255);
            wire_skip(text, ",");
        }
        wire_read_payload(text, &item->payload);
    }
    return true;
}

/* Appends the bytes that the notation stands for. */
TEST_UNUSED static void wire_stream(wire_buffer *to, const char *text) {
    static const uint8_t mask[4] = {1, 2, 3, 4};
    wire_item item;
    while (wire_next(&text, &item)) {
        if (item.raw) {
            wire_add(to, item.payload.data, item.payload.size);
        } else {
            wire_frame_as(to, item.first, item.payload.data, item.payload.size, item.length_form,
                          item.masked ? mask : NULL);
            to->size -= item.cut;
        }
        wire_free(&item.payload);
    }
}

/* Appends one line of text for a message or a control frame, to be compared: the notation where it
 * is short, size and hash where it is long. Of a Close only the code, since reasons are free. */
TEST_UNUSED static void wire_describe(wire_buffer *to, unsigned opcode, const void *data,
                                      size_t size) {
    static const char *const names[16] = {"cont", "text", "bin",   "op3",  "op4", "op5",
                                          "op6",  "op7",  "close", "ping", "pong"};
    const uint8_t *bytes = (const uint8_t *)data;
    wire_print(to, "%s%s", to->size > 0 ? " " : "", names[opcode & 15]);
    if (opcode == WIRE_CLOSE) {
        if (size >= 2) {
            wire_print(to, ":%u", (unsigned)bytes[0] << 8 | bytes[1]);
        }
    } else if (size > 40) {
        wire_print(to, "=%zu#%016llx", size, (unsigned long long)wire_hash(data, size));
    } else if (size > 0) {
        wire_add_text(to, ":");
        for (size_t i = 0; i < size; i++) {
            bool plain = bytes[i] > 32 && bytes[i] < 127 && bytes[i] != '%';
            wire_print(to, plain ? "%c" : "%%%02x", bytes[i]);
        }
    }
}

/* The same lines for items in the notation. */
TEST_UNUSED static void wire_describe_items(wire_buffer *to, const char *text) {
    wire_item item;
    while (wire_next(&text, &item)) {
        wire_describe(to, item.first & 15, item.payload.data, item.payload.size);
        wire_free(&item.payload);
    }
}

#endif
