/* Invariant: whatever name servers, hosts and resolv.conf say, in whatever pieces and whenever: what
 * is refused is refused whole, what is taken is in the message, and a look-up comes to an end within
 * the time and the number of questions that its settings allow. An address that is taken is the one
 * that the system's own parser reads; a file gives the same in pieces as whole.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/dns dns.c
 *     build/dns -dict=mtws.dict corpus/dns
 *
 * Input: a byte that says which part is tried. A text: an address. A file: the sizes of its pieces
 * come from the byte behind. A message: what answers a question for h.example; its id and question
 * are put right where a bit of the byte behind says so. A look-up: settings, then steps: who answers
 * what, who is lost, how much time passes. */
#include "fuzz.h"

#include <arpa/inet.h>

/* ---- addresses and files --------------------------------------------------------------------- */

static void try_text(fuzz_input *in) {
    char *text = fuzz_string(in);
    size_t size = strlen(text);
    uint8_t *copy = fuzz_copy(text, size); /* the parser must not need the string's end */
    mtws__span span = {copy, size};
    mtws__ip ip;
    mtws__dns_config config;
    uint8_t theirs[16];
    bool six = memchr(text, ':', strcspn(text, "%")) != NULL;
    char *zone = strchr(text, '%');
    bool good = mtws__ip_parse(span, &ip);
    mtws__dns_config_start(&config);
    mtws__dns_servers_parse(text, &config);
    CHECK(config.server_count >= 0 && config.server_count <= MTWS__DNS_SERVERS_MAX);
    if (zone != NULL) {
        CHECK(!good || (six && strcmp(ip.zone, zone + 1) == 0 && ip.zone[0] != 0));
        if (strlen(zone + 1) == 0 || strlen(zone + 1) > MTWS__ZONE_MAX) CHECK(!good);
        *zone = 0;
    }
    bool expected = inet_pton(six ? AF_INET6 : AF_INET, text, theirs) == 1;
    CHECK(!good || (expected && ip.six == six));
    if (zone == NULL) CHECK(good == expected);
    if (good) CHECK(memcmp(ip.bytes, theirs, six ? 16 : 4) == 0);
    free(copy);
    free(text);
}

/* All that a file says, in an order that does not depend on its pieces. */
static void read_file(fuzz_bytes *out, mtws__span file, uint64_t *cuts, bool hosts) {
    mtws__hosts h;
    mtws__words words;
    mtws__dns_config config;
    memset(&h, 0, sizeof h);
    memset(&words, 0, sizeof words);
    mtws__dns_config_start(&config);
    for (size_t at = 0; at <= file.size;) {
        mtws__span piece = {(const uint8_t *)"\n", 1};
        uint8_t *copy = NULL;
        if (at < file.size) {
            size_t size = cuts == NULL ? file.size : fuzz_cut(cuts, file.size - at);
            copy = fuzz_copy(file.data + at, size);
            piece.data = copy;
            piece.size = size;
        }
        at += piece.size;
        mtws__ip ip;
        while (hosts && mtws__hosts_next(&h, "h", &piece, &ip)) {
            fuzz_put_item(out, ip.six ? '6' : '4', ip.bytes, sizeof ip.bytes);
            fuzz_put_item(out, 'z', ip.zone, strlen(ip.zone));
        }
        while (!hosts && mtws__words_next(&words, &piece)) {
            CHECK(strlen(words.text) < sizeof words.text && words.place >= 0);
            mtws__dns_config_word(&config, words.text, words.place);
        }
        CHECK(piece.size == 0);
        free(copy);
    }
    CHECK(config.server_count <= MTWS__DNS_SERVERS_MAX);
    CHECK(config.search_size <= sizeof config.search);
    CHECK(config.attempts >= 1 && config.attempts <= 5 && config.ndots <= 15);
    CHECK(config.timeout_ms <= 30000);
    config.keyword[0] = 0;
    for (int i = 0; i < config.server_count; i++) {
        fuzz_put_item(out, 's', config.servers[i].ip.bytes, 16);
    }
    fuzz_put_item(out, 'd', config.search, config.search_size);
    uint32_t numbers[4] = {config.ndots, config.attempts, config.timeout_ms, config.rotate};
    fuzz_put_item(out, 'n', numbers, sizeof numbers);
}

static void try_file(fuzz_input *in, bool hosts) {
    fuzz_bytes whole = {NULL, 0, 0}, pieces = {NULL, 0, 0};
    uint64_t cuts = fuzz_byte(in);
    mtws__span file = fuzz_take(in, in->size);
    read_file(&whole, file, NULL, hosts);
    read_file(&pieces, file, &cuts, hosts);
    CHECK(fuzz_same(&whole, &pieces));
    fuzz_free(&whole);
    fuzz_free(&pieces);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Whether the bytes lie anywhere in the message. */
static bool lies_in(mtws__span message, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i + size <= message.size; i++) {
        if (memcmp(message.data + i, bytes, size) == 0) return true;
    }
    return false;
}

static mtws__dns_said parse(mtws__span message, const uint8_t *query, size_t asked, uint16_t type,
                            mtws__dns_reply *reply) {
    uint8_t *copy = fuzz_copy(message.data, message.size);
    mtws__span span = {copy, message.size};
    mtws__dns_said said = mtws__dns_parse(span, query, asked, type, reply);
    free(copy);
    return said;
}

static void try_message(fuzz_input *in) {
    uint8_t query[MTWS__DNS_QUERY_MAX];
    mtws__dns_reply reply, again;
    uint8_t flags = fuzz_byte(in);
    uint16_t type = (flags & 2) != 0 ? MTWS__DNS_AAAA : MTWS__DNS_A;
    size_t asked = mtws__dns_query(query, "h.example", 0x4711, type, NULL, false);
    fuzz_bytes bytes = {NULL, 0, 0};
    if ((flags & 1) != 0) { /* the rest behind a right beginning */
        fuzz_put(&bytes, query, asked);
        bytes.data[2] = 0x81;
        bytes.data[3] = (flags & 4) != 0 ? 0x83 : 0x80;
        mtws__span counts = fuzz_take(in, 3);
        for (size_t i = 0; i < counts.size; i++) bytes.data[7 + 2 * i] = counts.data[i];
    }
    mtws__span rest = fuzz_take(in, in->size);
    fuzz_put(&bytes, rest.data, rest.size);
    mtws__span message = {bytes.data, bytes.size};
    mtws__dns_said said = parse(message, query, asked, type, &reply);
    CHECK(reply.count >= 0 && reply.count <= MTWS__DNS_FAMILY_MAX);
    CHECK((said == MTWS__DNS_ADDRESSES) == (reply.count > 0) || said == MTWS__DNS_FAILED);
    size_t address = (flags & 2) != 0 ? 16 : 4;
    for (int i = 0; said == MTWS__DNS_ADDRESSES && i < reply.count; i++) {
        CHECK(lies_in(message, reply.bytes[i], address));
        CHECK(!mtws__ip_is_nobody(reply.bytes[i], address == 16));
    }
    if (said != MTWS__DNS_FOREIGN) {
        CHECK(message.size >= asked && memcmp(message.data, query, 2) == 0);
        CHECK(memcmp(message.data + 12, query + 12, asked - 12) == 0);
    }
    /* What is cut off is refused; what follows the last record changes nothing. */
    for (size_t size = message.size; said == MTWS__DNS_ADDRESSES && size-- > asked;) {
        mtws__span cut = {message.data, size};
        mtws__dns_said other = parse(cut, query, asked, type, &again);
        CHECK(other == MTWS__DNS_FAILED || other == MTWS__DNS_ADDRESSES);
        if (other == MTWS__DNS_FAILED) break;
        CHECK(memcmp(&again, &reply, sizeof reply) == 0);
    }
    fuzz_free(&bytes);
}

/* ---- look-ups -------------------------------------------------------------------------------- */

/* An answer to a slot's question: some of it as it should be, the rest from the input. */
static void answer(mtws__dns *d, int slot, fuzz_input *in) {
    uint8_t how = fuzz_byte(in), query[MTWS__DNS_QUERY_MAX];
    int family = how & 1;
    size_t asked;
    fuzz_bytes bytes = {NULL, 0, 0};
    mtws__dns_question(d, slot, family, query, &asked);
    fuzz_put(&bytes, query, asked);
    bytes.data[2] = (how & 2) != 0 ? 0x83 : 0x81;
    bytes.data[3] = (uint8_t)(0x80 | how >> 4);
    memset(bytes.data + 6, 0, 6);
    if ((how & 4) != 0) { /* an address */
        uint8_t record[12] = {0xc0, 12, 0, family == MTWS__IPV6 ? 28 : 1, 0, 1, 0, 0, 0, 0, 0, 4};
        bytes.data[7] = 1;
        record[9] = fuzz_byte(in);
        record[11] = family == MTWS__IPV6 ? 16 : 4;
        fuzz_put(&bytes, record, sizeof record);
        for (int i = 0; i < record[11]; i++) fuzz_put_byte(&bytes, (uint8_t)(i + 1));
    }
    if ((how & 8) != 0) { /* something is wrong with it */
        size_t at = fuzz_byte(in) % bytes.size;
        bytes.data[at] = (uint8_t)(bytes.data[at] ^ fuzz_byte(in));
    }
    if (d->tries[slot].stream) {
        uint8_t length[2];
        mtws__store_big(length, 2, bytes.size);
        fuzz_bytes framed = {NULL, 0, 0};
        fuzz_put(&framed, length, 2);
        fuzz_put(&framed, bytes.data, bytes.size);
        for (size_t at = 0; at < framed.size && d->tries[slot].open != 0;) {
            uint8_t *to;
            size_t room = mtws__min_size(mtws__dns_stream_room(d, &to), framed.size - at);
            CHECK(room > 0);
            memcpy(to, framed.data + at, room);
            mtws__dns_stream_in(d, slot, room);
            at += room;
        }
        fuzz_free(&framed);
    } else {
        uint8_t *copy = fuzz_copy(bytes.data, bytes.size);
        mtws__span message = {copy, bytes.size};
        mtws__dns_answer(d, slot, message);
        free(copy);
    }
    fuzz_free(&bytes);
}

static void check_sets(const mtws__dns *d) {
    for (int i = 0; i < MTWS__FAMILIES; i++) {
        CHECK(d->sets[i].count <= MTWS__DNS_FAMILY_MAX && (d->sets[i].known || !d->sets[i].count));
    }
    if (d->outcome == MTWS__DNS_OUTCOME_FOUND) CHECK(d->sets[0].count + d->sets[1].count > 0);
}

/* One look-up, from mtws__dns_start to its outcome. */
static void look_up(mtws__dns *d, mtws__random *random, uint64_t *now_us, fuzz_input *in) {
    static const char *const hosts[] = {"h", "h.example", "a.b.c.d", "x", "y", "z"};
    const char *host = hosts[fuzz_byte(in) % 6];
    unsigned sent = 0, names = (unsigned)d->config.search_size + 1;
    unsigned servers = (unsigned)d->config.server_count;
    unsigned most = names * (servers * d->config.attempts * 3 + servers * 2);
    uint64_t began_us = *now_us, longest_us = most * (uint64_t)2000000 + 1;
    mtws__dns_start(d, host, (fuzz_byte(in) & 7) == 0, *now_us);
    for (;;) {
        int slot = -1;
        mtws__dns_step step = mtws__dns_next(d, *now_us, random, &slot);
        check_sets(d);
        if (step == MTWS__DNS_DONE) break;
        if (step == MTWS__DNS_SEND) {
            CHECK(slot >= 0 && slot < MTWS__DNS_TRIES_MAX && ++sent <= most);
            CHECK(d->tries[slot].open != 0 && d->tries[slot].server < servers);
            continue;
        }
        CHECK(d->due_us > *now_us && d->due_us - *now_us <= 2000000);
        uint8_t act = fuzz_byte(in);
        slot = act >> 2 & 3;
        bool open = slot < MTWS__DNS_TRIES_MAX && d->tries[slot].open != 0;
        if ((act & 3) == 1 && open) mtws__dns_lost(d, slot);
        else if ((act & 3) >= 2 && open) answer(d, slot, in);
        else *now_us = d->due_us;
        if (in->size == 0 && (act & 16) != 0) { /* a connection is there */
            mtws__dns_finish(d, *now_us);
            break;
        }
    }
    CHECK(d->outcome != MTWS__DNS_OUTCOME_ASKING);
    CHECK(*now_us - began_us <= longest_us);
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) CHECK(d->tries[i].open == 0);
    check_sets(d);
}

static void try_look_up(fuzz_input *in) {
    static mtws__dns d;
    static const uint8_t seed[32] = {3};
    mtws__random random;
    mtws__ip ip;
    uint64_t now_us = 1000000;
    uint8_t settings = fuzz_byte(in);
    mtws__random_seed(&random, seed);
    mtws__dns_open(&d);
    mtws__ip_parse(mtws__span_of("10.0.0.1"), &ip);
    for (int i = 0; i < 1 + settings % 3; i++) mtws__dns_config_server(&d.config, &ip, 53);
    d.config.attempts = 1 + (settings >> 2 & 3);
    d.config.rotate = (settings & 16) != 0;
    if ((settings & 32) != 0) mtws__dns_config_domain(&d.config, "a.example");
    if ((settings & 64) != 0) mtws__dns_config_domain(&d.config, "b");
    for (int i = 0; i < 6; i++) {
        look_up(&d, &random, &now_us, in);
        uint8_t after = fuzz_byte(in);
        if ((after & 1) != 0) mtws__dns_doubt(&d);
        if ((after & 2) != 0) mtws__dns_doubt_all(&d);
        now_us += (uint64_t)(after >> 2) * (after >> 2) * 1000000;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    switch (fuzz_byte(&in) % 5) {
    case 0: try_text(&in); break;
    case 1: try_file(&in, true); break;
    case 2: try_file(&in, false); break;
    case 3: try_message(&in); break;
    default: try_look_up(&in); break;
    }
    return 0;
}
