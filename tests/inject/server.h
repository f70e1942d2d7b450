/* The far end: a server that speaks RFC 6455, and the script by which it and the network behave and
 * misbehave. It remembers which messages it has received, and in which order.
 */
#ifndef MTWS_INJECT_SERVER_H_INCLUDED
#define MTWS_INJECT_SERVER_H_INCLUDED

/* ---- scripts --------------------------------------------------------------------------------- */

/* clang-format off */
typedef enum action {
    /* of the world */
    SERVER_DOWN,    /* killed: connections are reset, attempts refused */
    SERVER_UP,
    SERVER_MUTE,    /* a: 1: its program does nothing any more; 0: goes on */
    SERVER_CLOSE,   /* a: the code */
    SERVER_RESETS,
    SERVER_ENDS,    /* end of stream, without a Close */
    SERVER_SENDS,   /* a messages of b bytes */
    SERVER_PINGS,   /* a Pings */
    SERVER_BEATS,   /* a heartbeat in JSON */
    SERVER_LIES,    /* a frame that no server may send */
    SERVER_REFUSES, /* the next a upgrades, with 503 */
    NAMES_MUTE,     /* a: 1: the name server answers nothing any more; 0: it does again */
    SERVER_STALLS,  /* a: 1: upgrades are not answered; 0: they are again */
    NETWORK_DOWN,
    NETWORK_UP,
    /* of the program */
    CREATE, /* done at the start */
    GO,     /* mtws_connect; a: to how many addresses */
    SAY,    /* a messages of b bytes */
    SAY_ONCE, SAY_NOW, /* the same with MTWS_ONCE, MTWS_NO_QUEUE */
    PART,   /* a: 1: first, 2: last, 0: between; b bytes */
    STOP,   /* mtws_disconnect */
    RETRY,  /* mtws_retry_now, where it may be called */
    TELL,   /* mtws_set_network(a) */
    PAUSE,  /* mtws_set_paused(a) */
    DROP,   /* mtws_destroy, and no more */
    END     /* all faults are gone, and everything has to come right */
} action;
/* clang-format on */

typedef struct act {
    int at_ms;
    action what;
    int a, b;
} act;

enum { IDS = 256, START_US = 1000000 };

static struct server {
    const act *script;
    size_t at; /* the next action */
    bool up, stalls;
    bool first_silent; /* the first of two addresses does not answer at all, or else refuses */
    bool names_mute, truncates; /* the name server: is silent; wants TCP */
    bool proxy, socks;          /* the server is reached through one */
    bool blind; /* the client has no randomness, and may not connect: FAULTS row 16 */
    int refusals;
    unsigned pushed;
    unsigned received[IDS]; /* how often each message came, whole */
    bool queued[IDS];       /* it keeps the order of the main queue */
    unsigned newest;        /* of those */
    unsigned connections, upgrades;
} far;

/* The connection that the server takes for open, or NULL. */
static conn *server_conn(void) {
    conn *c = conn_of(sys.serial);
    return sys.serial != 0 && c->stage == UP && c->peer.upgraded && !c->peer.closed ? c : NULL;
}

static void peer_connects(conn *c, const struct sockaddr *address) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    uint32_t number = ntohl(in.sin_addr.s_addr) & 255;
    c->peer.names = ntohs(in.sin_port) == 53;
    if (c->peer.names) return;
    REQUIRE(ntohs(in.sin_port) == 80, "a connect to port %u", ntohs(in.sin_port));
    REQUIRE(!far.blind || sys.now_us >= sys.heal_us, "connected without randomness");
    far.connections++;
    if (far.script[0].a == 2 && number == 1) {
        c->error = ECONNREFUSED;
        if (far.first_silent) c->decided_us = NEVER;
    } else if (!far.up) {
        c->error = ECONNREFUSED;
    }
}

static void peer_sends(conn *c, const wire_buffer *bytes) {
    if (c->stage == UP && !c->in.ended) lane_put(&c->in, bytes->data, bytes->size);
}

static void peer_frame(conn *c, unsigned opcode, const void *data, size_t size) {
    wire_buffer out = {0};
    wire_frame(&out, opcode, true, data, size);
    peer_sends(c, &out);
    wire_free(&out);
}

static void peer_ends(conn *c) {
    c->peer.closed = true;
    lane_end(&c->in);
}

/* ---- the name server -------------------------------------------------------------------------- */

/* RFC 1035 section 4.1: the question comes back, then an address or two; of IPv6 there is none. */
static size_t name_answers(const uint8_t *question, size_t size, bool stream, uint8_t *out) {
    size_t end = 12;
    if (far.names_mute) return 0;
    REQUIRE(size >= 17 && question[5] == 1, "a question of %u bytes", (unsigned)size);
    while (end < size && question[end] != 0) end += 1u + question[end];
    REQUIRE(end + 5 <= size, "a question that does not end");
    bool ipv4 = question[end + 2] == 1, two = (question[13] | 32) == 't';
    end += 5;
    memset(out, 0, 12);
    memcpy(out, question, 2);
    out[2] = far.truncates && !stream ? 0x83 : 0x81;
    out[3] = 0x80;
    out[5] = 1;
    memcpy(out + 12, question + 12, end - 12);
    if (!ipv4 || out[2] == 0x83) return end;
    out[7] = two ? 2 : 1;
    for (uint8_t i = 1; i <= out[7]; i++, end += 16) {
        const uint8_t record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 2, 0, 4, 10, 0, 0, i};
        memcpy(out + end, record, sizeof record);
    }
    return end;
}

/* RFC 7766: each message with its size before it. */
static bool names_takes(conn *c) {
    const uint8_t *b = c->out.bytes;
    uint8_t question[600], answer[514];
    size_t size = c->out.arrived < 2 ? SIZE_MAX : (size_t)b[0] << 8 | b[1];
    if (size == SIZE_MAX || c->out.arrived < size + 2) return false;
    REQUIRE(size + 2 <= sizeof question, "a question of %u bytes", (unsigned)size);
    lane_take(&c->out, question, size + 2);
    size = name_answers(question + 2, size, true, answer + 2);
    answer[0] = (uint8_t)(size >> 8);
    answer[1] = (uint8_t)size;
    if (size > 0) lane_put(&c->in, answer, size + 2);
    return true;
}

/* ---- what comes from the client -------------------------------------------------------------- */

static bool peer_upgrade(conn *c) {
    const char *key = NULL, *end = NULL;
    char *text = (char *)c->out.bytes, accept[29];
    for (size_t i = 0; i + 4 <= c->out.arrived && end == NULL; i++) {
        if (memcmp(text + i, "\r\n\r\n", 4) == 0) end = text + i + 4;
    }
    if (end == NULL || far.stalls) return false;
    wire_buffer out = {0};
    uint8_t skipped[LANE_SIZE];
    size_t size = (size_t)(end - text);
    lane_take(&c->out, skipped, size);
    skipped[size] = 0;
    key = strstr((char *)skipped, "Sec-WebSocket-Key: ");
    REQUIRE(strncmp((char *)skipped, "GET /", 5) == 0 && key != NULL, "a request without a key");
    if (far.refusals > 0) {
        far.refusals--;
        wire_add_text(&out, "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
        peer_sends(c, &out);
        peer_ends(c);
    } else {
        char value[25] = {0};
        memcpy(value, key + 19, 24);
        REQUIRE(wire_is_key(value, 24), "a bad key: %s", value);
        wire_accept(value, accept);
        wire_print(&out,
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                   accept);
        peer_sends(c, &out);
        c->peer.upgraded = true;
        far.upgrades++;
    }
    wire_free(&out);
    return true;
}

/* What a proxy's client says before it speaks to the server: CONNECT, or SOCKS5 without a login. It
 * comes whole. */
static bool peer_tunnel(conn *c) {
    static const char connect[] = "CONNECT far:80 HTTP/1.1\r\n", greeting[] = "\5\1\0";
    static const char request[] = "\5\1\0\3\3far\0\120", connected[] = "\5\0\0\1\0\0\0\0\0\0";
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    const char *text = (const char *)c->out.bytes, *want = connect, *answer = yes;
    size_t size = sizeof connect - 1, answer_size = sizeof yes - 1;
    uint8_t skipped[LANE_SIZE];
    if (far.socks) {
        want = c->peer.tunnel == 0 ? greeting : request;
        size = c->peer.tunnel == 0 ? sizeof greeting - 1 : sizeof request - 1;
        answer = c->peer.tunnel == 0 ? "\5\0" : connected;
        answer_size = c->peer.tunnel == 0 ? 2 : sizeof connected - 1;
    }
    if (c->out.arrived < size || far.stalls) return false;
    REQUIRE(memcmp(text, want, size) == 0, "a proxy is asked something else");
    while (!far.socks && memcmp(c->out.bytes + size - 4, "\r\n\r\n", 4) != 0) {
        if (size++ == c->out.arrived) return false;
    }
    lane_take(&c->out, skipped, size);
    lane_put(&c->in, answer, answer_size);
    c->peer.tunnel += far.socks && c->peer.tunnel == 0 ? 1 : 2;
    return true;
}

/* The text "m000012..." is the message with the id 12. */
static void peer_message(conn *c) {
    struct peer *p = &c->peer;
    char digits[8] = {0};
    if (p->message_size >= 9 && memcmp(p->message, "{\"type\":\"", 9) == 0) {
        const char *stamp = strstr((char *)p->message, "\"timestamp\":");
        if (memcmp(p->message + 9, "heartbeat\"", 10) != 0) return;
        char answer[120];
        REQUIRE(stamp != NULL, "a heartbeat without a timestamp");
        snprintf(answer, sizeof answer,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":1,\"originalTimestamp\":%llu}",
                 strtoull(stamp + 12, NULL, 10));
        peer_frame(c, WIRE_TEXT, answer, strlen(answer));
        return;
    }
    REQUIRE(p->message_size >= 7 && p->message[0] == 'm', "a message that nobody sent");
    memcpy(digits, p->message + 1, 6);
    unsigned id = (unsigned)atoi(digits);
    REQUIRE(id > 0 && id < IDS, "message %u was never sent", id);
    for (size_t i = 7; i < p->message_size; i++) {
        REQUIRE(p->message[i] == 'a' + (id + i) % 26, "message %u is not what was sent", id);
    }
    trace("the server has message %u", id);
    far.received[id]++;
    if (!far.queued[id] || far.received[id] > 1) return;
    REQUIRE(id > far.newest, "message %u comes after %u", id, far.newest);
    far.newest = id;
}

static void peer_handles(conn *c, unsigned first, uint8_t *data, size_t size) {
    struct peer *p = &c->peer;
    unsigned opcode = first & 15;
    switch (opcode) {
    case WIRE_PING: peer_frame(c, WIRE_PONG, data, size); return;
    case WIRE_PONG: return;
    case WIRE_CLOSE:
        if (!p->closed) peer_frame(c, WIRE_CLOSE, data, size);
        peer_ends(c);
        return;
    default: break;
    }
    REQUIRE(opcode <= WIRE_BIN && (opcode == WIRE_CONT) == p->fragments, "opcode %u", opcode);
    if (opcode != WIRE_CONT) p->message_size = 0;
    REQUIRE(size < sizeof p->message - p->message_size, "a message of the client is too long");
    memcpy(p->message + p->message_size, data, size);
    p->message_size += size;
    p->message[p->message_size] = 0;
    p->fragments = (first & 0x80) == 0;
    if (!p->fragments) peer_message(c);
}

/* One frame; false: it has not come whole. */
static bool peer_takes(conn *c) {
    uint8_t frame[LANE_SIZE];
    const uint8_t *b = c->out.bytes;
    size_t have = c->out.arrived, header = 2;
    if (have < 2) return false;
    REQUIRE((b[0] & 0x70) == 0 && (b[1] & 0x80) != 0, "a frame that is not masked, or reserved");
    size_t size = b[1] & 127;
    header += size == 126 ? 2 : size == 127 ? 8 : 0;
    if (have < header + 4) return false;
    if (size == 126) size = (size_t)b[2] << 8 | b[3];
    REQUIRE(size != 127, "a frame of over 64 KiB");
    if (have < header + 4 + size) return false;
    lane_take(&c->out, frame, header + 4 + size);
    uint8_t *data = frame + header + 4;
    for (size_t i = 0; i < size; i++) data[i] ^= frame[header + i % 4];
    peer_handles(c, frame[0], data, size);
    return true;
}

static void peer_reads(conn *c) {
    if (c->stage != UP || c->peer.mute) return;
    bool more = true;
    if (c->peer.names) {
        while (names_takes(c)) {
        }
        if (lane_at_end(&c->out)) peer_ends(c);
        return;
    }
    while (more && !c->peer.closed) {
        bool tunnel = (far.proxy || far.socks) && c->peer.tunnel < 2;
        more = c->peer.upgraded ? peer_takes(c) : tunnel ? peer_tunnel(c) : peer_upgrade(c);
    }
    if (c->peer.closed && c->out.arrived > 0) {
        uint8_t ignored[LANE_SIZE];
        lane_take(&c->out, ignored, c->out.arrived);
    }
    if (lane_at_end(&c->out)) peer_ends(c);
}

/* ---- what the script says -------------------------------------------------------------------- */

static bool act_is_worlds(const act *a) { return a->what < CREATE; }

static uint64_t act_us(const act *a) { return START_US + (uint64_t)a->at_ms * 1000; }

static const act *world_next(void) {
    while (far.script[far.at].what != END && !act_is_worlds(&far.script[far.at])) far.at++;
    return far.script[far.at].what == END ? NULL : &far.script[far.at];
}

static uint64_t world_next_us(void) {
    const act *a = world_next();
    return a == NULL ? NEVER : act_us(a);
}

static void network_changes(bool down) {
    sys.net_down = down;
    for (int i = 0; i < sys.fd_count; i++) {
        if (sys.fds[i].kind == NETLINK) sys.fds[i].count += 2;
    }
    for (int i = 0; i < CONNS && !down; i++) {
        conn *c = &sys.conns[i];
        if (c->decided_us < sys.now_us) c->decided_us = sys.now_us;
        for (int n = 0; n < c->in.count; n++) c->in.chunks[n].at_us = sys.now_us + 200000;
        for (int n = 0; n < c->out.count; n++) c->out.chunks[n].at_us = sys.now_us + 200000;
    }
}

static void server_sends(conn *c, int count, int size) {
    char text[4096];
    for (int i = 0; i < count; i++) {
        int head = snprintf(text, sizeof text, "s%06u", ++far.pushed);
        for (int n = head; n < size; n++) text[n] = (char)('a' + (far.pushed + (unsigned)n) % 26);
        peer_frame(c, WIRE_TEXT, text, (size_t)size);
    }
}

/* What only an open connection can show. */
static void server_acts(conn *c, const act *a) {
    uint8_t body[2] = {(uint8_t)(a->a >> 8), (uint8_t)a->a};
    wire_buffer out = {0};
    switch (a->what) {
    case SERVER_CLOSE: peer_frame(c, WIRE_CLOSE, body, 2); break;
    case SERVER_RESETS: conn_reset(c); break;
    case SERVER_ENDS: peer_ends(c); break;
    case SERVER_SENDS: server_sends(c, a->a, a->b); break;
    case SERVER_PINGS:
        for (int i = 0; i < a->a; i++) peer_frame(c, WIRE_PING, "are you there", 13);
        break;
    case SERVER_BEATS:
        wire_stream(&out, "text:{\"type\":\"heartbeat\",\"timestamp\":17}");
        peer_sends(c, &out);
        break;
    case SERVER_LIES:
        wire_stream(&out, "masked.text:no ping:behind");
        peer_sends(c, &out);
        break;
    default: break;
    }
    wire_free(&out);
}

static void world_acts(void) {
    const act *a = world_next();
    conn *c = server_conn();
    far.at++;
    trace("the world does %d (%d, %d)", a->what, a->a, a->b);
    switch (a->what) {
    case SERVER_DOWN:
        far.up = false;
        for (int i = 0; i < CONNS; i++) conn_reset(&sys.conns[i]);
        break;
    case SERVER_UP: far.up = true; break;
    case SERVER_MUTE:
        if (c != NULL) c->peer.mute = a->a == 1;
        if (c != NULL) peer_reads(c);
        break;
    case SERVER_REFUSES: far.refusals = a->a; break;
    case NAMES_MUTE: far.names_mute = a->a == 1; break;
    case SERVER_STALLS: far.stalls = a->a == 1; break;
    case NETWORK_DOWN: network_changes(true); break;
    case NETWORK_UP: network_changes(false); break;
    default:
        if (c != NULL) server_acts(c, a);
    }
}

#endif
