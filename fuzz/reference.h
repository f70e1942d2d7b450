/* References that share no code with what they judge: plain, slow, and written from the RFCs.
 * Include it after fuzz.h. */
#ifndef MTWS_FUZZ_REFERENCE_H_INCLUDED
#define MTWS_FUZZ_REFERENCE_H_INCLUDED

#include "fuzz.h"

/* ---- UTF-8 (RFC 3629) ------------------------------------------------------------------------ */

/* Whether one of these numbers is a code point that needs at least the bytes it was given. */
FUZZ_SHARED bool reference_possible(uint32_t low, uint32_t high, uint32_t least) {
    if (low < least) low = least;
    if (high > 0x10ffff) high = 0x10ffff;
    return low <= high && !(low >= 0xd800 && high <= 0xdfff);
}

/* The place of the first byte that no text could have there; size where there is none, and *whole
 * says whether the text may end. After each byte the code points that may still come of it are a
 * range: is one of them allowed? */
FUZZ_SHARED size_t reference_utf8(const uint8_t *data, size_t size, bool *whole) {
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    *whole = false;
    for (size_t at = 0; at < size;) {
        uint8_t lead = data[at];
        uint32_t more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if ((lead >= 0x80 && lead < 0xc0) || lead >= 0xf8) return at;
        uint32_t point = more == 0 ? lead : lead & (0x3fu >> more);
        for (uint32_t left = more;; left--) {
            uint32_t high = ((point + 1) << 6 * left) - 1;
            if (!reference_possible(point << 6 * left, high, least[more])) return at;
            at++;
            if (left == 0) break;
            if (at == size) return size;
            if ((data[at] & 0xc0) != 0x80) return at;
            point = point << 6 | (data[at] & 0x3fu);
        }
    }
    *whole = true;
    return size;
}

/* ---- what a server's bytes mean (RFC 6455 section 5) ------------------------------------------ */

typedef struct reference_stream {
    fuzz_bytes log;     /* whole messages 'T' and 'B', control frames '8', '9' and ':' */
    fuzz_bytes message; /* what has come of the message that is not whole */
    mtws_result result; /* of what is wrong; MTWS_OK: nothing so far */
    bool closed;        /* a Close frame has come: nothing is looked at behind it */
} reference_stream;

typedef struct reference_frame {
    uint64_t size;
    size_t header_size;
    uint8_t opcode;
    bool final;
} reference_frame;

/* 1: there is a header; 0: not all of one; -1: no frame of a server's begins so. */
FUZZ_SHARED int reference_header(reference_frame *f, const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    f->final = data[0] >= 0x80;
    f->opcode = data[0] % 16;
    bool control = f->opcode == 8 || f->opcode == 9 || f->opcode == 10;
    if ((data[0] / 16) % 8 != 0 || (f->opcode > 2 && !control) || (control && !f->final)) return -1;
    if (size == 1) return 0;
    if (data[1] > 127 || (control && data[1] > 125)) return -1;
    size_t digits = data[1] == 126 ? 2 : data[1] == 127 ? 8 : 0;
    if (digits == 8 && size > 2 && data[2] > 127) return -1;
    f->header_size = 2 + digits;
    if (size < f->header_size) return 0;
    f->size = digits == 0 ? data[1] : 0;
    for (size_t i = 0; i < digits; i++) f->size = f->size * 256 + data[2 + i];
    if (digits == 2 && f->size < 126) return -1;
    return digits == 8 && f->size < 65536 ? -1 : 1;
}

/* Takes all of the bytes. max_size is the largest message; SIZE_MAX: any. */
FUZZ_SHARED void reference_read(reference_stream *s, const uint8_t *data, size_t size,
                                size_t max_size) {
    uint8_t kind = 0; /* of the message under way; 0: none */
    memset(s, 0, sizeof *s);
    for (size_t at = 0; at < size && !s->closed;) {
        reference_frame f;
        int found = reference_header(&f, data + at, size - at);
        if (found < 0) s->result = MTWS_ERR_PROTOCOL;
        if (found <= 0) return;
        size_t have = size - at - f.header_size;
        const uint8_t *payload = data + at + f.header_size;
        if (f.opcode >= 8) {
            if (have < f.size) return;
            fuzz_put_item(&s->log, (char)('0' + f.opcode), payload, (size_t)f.size);
            s->closed = f.opcode == 8;
            at += f.header_size + (size_t)f.size;
            continue;
        }
        if ((f.opcode == 0) != (kind != 0)) s->result = MTWS_ERR_PROTOCOL;
        else if (f.size > max_size - s->message.size) s->result = MTWS_ERR_TOO_BIG;
        if (s->result != MTWS_OK) return;
        if (kind == 0) kind = f.opcode;
        if (have > f.size) have = (size_t)f.size;
        fuzz_put(&s->message, payload, have);
        bool whole = true, ended = have == f.size && f.final;
        if (kind == 1 && (have > 0 || ended)) {
            size_t good = reference_utf8(s->message.data, s->message.size, &whole);
            if (good < s->message.size || (ended && !whole)) s->result = MTWS_ERR_UTF8;
        }
        if (have < f.size || s->result != MTWS_OK) return;
        at += f.header_size + have;
        if (!f.final) continue;
        fuzz_put_item(&s->log, kind == 1 ? 'T' : 'B', s->message.data, s->message.size);
        s->message.size = 0;
        kind = 0;
    }
}

FUZZ_SHARED void reference_free(reference_stream *s) {
    fuzz_free(&s->log);
    fuzz_free(&s->message);
}

#endif
