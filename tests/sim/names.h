/* The simulated system's names: hosts, resolv.conf, and name servers that answer, fail, are slow or
 * silent. Each name has one address that is real, and perhaps others at which nobody is.
 */
#ifndef MTWS_SIM_NAMES_H_INCLUDED
#define MTWS_SIM_NAMES_H_INCLUDED

enum { REAL_IP = 0x0a000001, DEAD_IP = 0x0a000101, SILENT_HOST = 1, REFUSING_HOST = 2 };

/* By the port of the URL: nothing else; a dead one of IPv4 first; dead ones of IPv6, silent,
 * refusing or without a route. */
static bool has_dead4(void)
{
    return sim.open_port % 5 == 1;
}

static bool has_dead6(void)
{
    return sim.open_port % 5 >= 2;
}

static const char *file_text(bool hosts)
{
    static char text[256];
    if (hosts) {
        snprintf(text, sizeof text, "127.0.0.1 localhost\n10.0.0.1 other %s\n",
                 has(T_HOSTS) ? sim.open_host : "another");
        return text;
    }
    return "# two of them\nnameserver 10.9.0.1\nnameserver 10.9.0.2\noptions timeout:1\n";
}

static void names_put(name_answer *a, const void *data, size_t size)
{
    REQUIRE(size <= sizeof a->data - a->size, "simulator", "a name server's answer is too large");
    memcpy(a->data + a->size, data, size);
    a->size += (uint32_t)size;
}

/* One more address in the answer. */
static void names_add(name_answer *a, bool six, uint32_t ip)
{
    uint8_t record[12] = {0xc0, 12, 0, six ? 28 : 1, 0, 1, 0, 0, 0, 0, 0, six ? 16 : 4};
    uint8_t bytes[16] = {0x20, 1, 0x0d, 0xb8};
    record[9] = (uint8_t)(sim.open_port % 7 * 20); /* seconds that it holds */
    names_put(a, record, sizeof record);
    mtws__store_big(six ? bytes + 12 : bytes, 4, ip);
    names_put(a, bytes, six ? 16 : 4);
    a->data[7]++;
}

/* The name in the query must be the one that is looked up, whatever its letters' cases. */
static void names_check(const uint8_t *query, size_t size)
{
    char name[80] = "";
    size_t length = 0;
    for (size_t at = 12; at < size && query[at] != 0; at += query[at] + 1u) {
        for (size_t i = 0; i <= query[at] && length < sizeof name - 1; i++) {
            bool dot = i == 0;
            if (!dot || length > 0) {
                name[length++] = dot ? '.' : (char)tolower(query[at + i]);
            }
        }
    }
    name[length] = '\0';
    REQUIRE(strcmp(name, sim.open_host) == 0, "open", "a look-up of %s", name);
}

/* A query leaves by this descriptor. */
static void names_asked(descriptor *d, int fd, const uint8_t *query, size_t size)
{
    size_t end = 12;
    while (end < size && query[end] != 0) {
        end += query[end] + 1u;
    }
    end += 5;
    REQUIRE(size >= end && query[5] == 1 && (query[2] & 0x80) == 0, "names", "a bad query");
    names_check(query, size);
    bool six = query[end - 3] == 28;
    bool lost = sim.now_us < sim.down_until_us || sim.interfaces_down;
    bool silent = lost || strikes(T_NAMES_SILENT), fails = strikes(T_NAMES_FAIL);
    trace(TRACE_QUESTION, query[end - 3], (uint64_t)fd, silent ? 2 : fails);
    if (silent || fails) {
        allow_attempt(MTWS_ERR_RESOLVE);
        allow_attempt(MTWS_ERR_TIMEOUT);
    }
    if (silent) {
        return;
    }
    name_answer *a = &d->answers[d->answers[0].at_us == 0 ? 0 : 1];
    REQUIRE(a->at_us == 0, "names", "three queries by one socket");
    a->size = 0;
    names_put(a, query, end);
    a->data[2] |= 0x80;
    a->data[3] = fails ? 2 : 0;
    memset(a->data + 6, 0, 6);
    if (!fails && six && has_dead6()) {
        names_add(a, true, DEAD_IP + sim.open_port % 3);
    } else if (!fails && !six) {
        if (has_dead4()) {
            names_add(a, false, DEAD_IP + sim.open_port % 2);
        }
        names_add(a, false, REAL_IP);
    }
    a->at_us = sim.now_us + link_latency_us() + link_latency_us();
    if (strikes(T_NAMES_SLOW)) {
        a->at_us += rng_scale(&sim.streams[T_NAMES_SLOW], 1000, 4000000);
    }
    if (a->at_us > sim.now_us + 2 * sim.plan.latency_us) {
        allow_attempt(MTWS_ERR_RESOLVE);
        allow_attempt(MTWS_ERR_TIMEOUT);
    }
    plan_event(a->at_us, EV_SOCKET, 0, 0);
}

/* The next answer that is there for the descriptor; NULL: none. */
static name_answer *names_ready(descriptor *d)
{
    for (int i = 0; i < ANSWERS_MAX; i++) {
        if (d->answers[i].at_us != 0 && d->answers[i].at_us <= sim.now_us) {
            return &d->answers[i];
        }
    }
    return NULL;
}

#endif
