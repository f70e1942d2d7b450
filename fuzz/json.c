/* Invariant: of any text and any name, the search for a member of the top-level object finds what a
 * plain recursive parser finds: nothing where the text is not JSON, nests too deeply or is no
 * object, where there is no such member, or where its value is an object or array; of several
 * members the last. And a string's inside is compared as its escapes say.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/json json.c
 *     build/json -dict=mtws.dict corpus/json
 *
 * Input: the name, a zero byte, the text. */
#include "fuzz.h"

typedef struct reader {
    const uint8_t *data;
    size_t size, at;
    const char *name; /* of the member that is looked for */
    bool found;       /* its value is no container, and lies here: */
    size_t begin, end;
} reader;

static void skip(reader *r, const char *set) {
    while (r->at < r->size && r->data[r->at] != 0 && strchr(set, r->data[r->at])) r->at++;
}

static void skip_space(reader *r) { skip(r, " \t\r\n"); }
static int peek(const reader *r) { return r->at < r->size ? r->data[r->at] : -1; }

static bool take(reader *r, const char *word) {
    size_t size = strlen(word);
    if (r->size - r->at < size || memcmp(r->data + r->at, word, size) != 0) return false;
    r->at += size;
    return true;
}

static bool take_digits(reader *r) {
    size_t begin = r->at;
    skip(r, "0123456789");
    return r->at > begin;
}

static bool take_number(reader *r) {
    take(r, "-");
    if (!take(r, "0") && !take_digits(r)) return false;
    if (take(r, ".") && !take_digits(r)) return false;
    if (!take(r, "e") && !take(r, "E")) return true;
    if (!take(r, "+")) take(r, "-");
    return take_digits(r);
}

/* Four hexadecimal digits, or -1. */
static int32_t take_hex4(reader *r) {
    static const char digits[] = "0123456789abcdefABCDEF";
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(r);
        const char *found = c > 0 ? strchr(digits, c) : NULL;
        if (found == NULL) return -1;
        int32_t digit = (int32_t)(found - digits);
        value = value * 16 + (digit < 16 ? digit : digit - 6);
        r->at++;
    }
    return value;
}

static void put_point(fuzz_bytes *out, uint32_t point) {
    if (point < 0x80) {
        fuzz_put_byte(out, (uint8_t)point);
        return;
    }
    int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    uint32_t lead = more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0;
    fuzz_put_byte(out, (uint8_t)(lead | point >> 6 * more));
    while (more-- > 0) fuzz_put_byte(out, (uint8_t)(0x80 | (point >> 6 * more & 0x3f)));
}

/* What follows a backslash. *lone is set for half of a surrogate pair, which is no text. */
static bool take_escape(reader *r, fuzz_bytes *out, bool *lone) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    r->at++;
    if (c <= 0) return false;
    const char *name = strchr(names, c);
    if (name != NULL) fuzz_put_byte(out, (uint8_t)values[name - names]);
    if (name != NULL || c != 'u') return name != NULL;
    int32_t high = take_hex4(r);
    if (high < 0) return false;
    if (high < 0xd800 || high > 0xdfff) {
        put_point(out, (uint32_t)high);
        return true;
    }
    reader ahead = *r;
    int32_t low = take(&ahead, "\\u") ? take_hex4(&ahead) : -1;
    if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) {
        *lone = true;
        return true;
    }
    r->at = ahead.at;
    put_point(out, 0x10000 + (uint32_t)(high - 0xd800) * 0x400 + (uint32_t)(low - 0xdc00));
    return true;
}

static bool take_string(reader *r, fuzz_bytes *out, bool *lone) {
    *lone = false;
    out->size = 0;
    if (!take(r, "\"")) return false;
    for (;;) {
        int c = peek(r);
        if (c < 0x20) return false;
        r->at++;
        if (c == '"') return true;
        if (c != '\\') fuzz_put_byte(out, (uint8_t)c);
        else if (!take_escape(r, out, lone)) return false;
    }
}

static bool is_text(const fuzz_bytes *bytes, bool lone, const char *text) {
    size_t size = strlen(text);
    return !lone && bytes->size == size && (size == 0 || memcmp(bytes->data, text, size) == 0);
}

static bool take_value(reader *r, int depth);

/* "name": value, with what may stand around them. */
static bool take_member(reader *r, int depth) {
    fuzz_bytes key = {NULL, 0, 0};
    bool lone;
    bool good = take_string(r, &key, &lone);
    bool wanted = good && depth == 1 && is_text(&key, lone, r->name);
    fuzz_free(&key);
    if (!good) return false;
    skip_space(r);
    if (!take(r, ":")) return false;
    skip_space(r);
    size_t begin = r->at;
    bool container = peek(r) == '{' || peek(r) == '[';
    if (!take_value(r, depth)) return false;
    if (!wanted) return true;
    r->found = !container;
    r->begin = begin;
    r->end = r->at;
    return true;
}

static bool take_container(reader *r, int depth, bool object) {
    const char *end = object ? "}" : "]";
    r->at++;
    if (depth > MTWS__JSON_DEPTH) return false;
    skip_space(r);
    if (take(r, end)) return true;
    for (;;) {
        skip_space(r);
        if (object ? !take_member(r, depth) : !take_value(r, depth)) return false;
        skip_space(r);
        if (take(r, end)) return true;
        if (!take(r, ",")) return false;
    }
}

static bool take_value(reader *r, int depth) {
    fuzz_bytes text = {NULL, 0, 0};
    bool lone, good;
    switch (peek(r)) {
    case '{': return take_container(r, depth + 1, true);
    case '[': return take_container(r, depth + 1, false);
    case 't': return take(r, "true");
    case 'f': return take(r, "false");
    case 'n': return take(r, "null");
    case '"': break;
    default: return take_number(r);
    }
    good = take_string(r, &text, &lone);
    fuzz_free(&text);
    return good;
}

/* The value that was found is a string where it is one, and that string and no other. */
static void check_value(const reader *r, mtws__span value, const char *name) {
    reader inner = {value.data, value.size, 0, "", false, 0, 0};
    fuzz_bytes text = {NULL, 0, 0};
    bool lone = false;
    bool string = take_string(&inner, &text, &lone);
    CHECK(value.size == r->end - r->begin && value.data == r->data + r->begin);
    CHECK(mtws__json_string_is(value, name) == (string && is_text(&text, lone, name)));
    fuzz_put_byte(&text, 0);
    if (string && !lone && strlen((char *)text.data) == text.size - 1) {
        CHECK(mtws__json_string_is(value, (char *)text.data));
    }
    fuzz_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    char *name = fuzz_string(&in);
    uint8_t *copy = fuzz_copy(in.data, in.size);
    reader r = {copy, in.size, 0, name, false, 0, 0};
    skip_space(&r);
    bool object = peek(&r) == '{' && take_value(&r, 0);
    skip_space(&r);
    bool found = object && r.at == r.size && r.found;

    mtws__span text, value = {NULL, 0};
    text.data = copy;
    text.size = in.size;
    CHECK(mtws__json_member(text, name, &value) == found);
    if (found) check_value(&r, value, name);
    free(copy);
    free(name);
    return 0;
}
