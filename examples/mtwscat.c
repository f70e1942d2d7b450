/* mtwscat: standard input to a WebSocket server, line by line, and what it says to standard output.
 *
 *     cc -O2 -o mtwscat mtwscat.c && echo hello | ./mtwscat -w 1 ws://127.0.0.1:9001/
 *
 * It waits with poll(2) on its own descriptors and the client's (mtws_get_wait) together, so it
 * also shows how to put mtws.h into an event loop. Neither side can flood the other: input is held
 * back while the queue is full (MTWS_ERR_QUEUE_FULL, MTWS_EVENT_WRITABLE), and the client is paused
 * while standard output does not keep up (mtws_set_paused), heartbeats going on meanwhile.
 */
#define _DEFAULT_SOURCE
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef PIPE_BUF
#define PIPE_BUF 512 /* the least that POSIX allows */
#endif

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DROPPED = 3 };
enum { MIB = 1 << 20, READ_AHEAD = 1 << 16, GRACE_MS = 1000 };
#define NEVER UINT64_MAX

static const char help[] =
    "usage: mtwscat [options] URL\n"
    "\n"
    "Each line of standard input is sent as a text message; each message received is written\n"
    "to standard output as a line. States and errors go to standard error. A lost connection\n"
    "is opened again, and what the server may not have got is sent again. At the end of the\n"
    "input it waits until the server has everything, then closes.\n"
    "\n"
    "  -b                  send lines as binary messages; write binary messages as they are,\n"
    "                      without a newline after each\n"
    "  -n N                end after N messages received; waits for them without limit\n"
    "                      unless -w is given\n"
    "  -w SECONDS          wait so long for answers after the input has ended and everything\n"
    "                      is delivered (default: 0)\n"
    "  -t SECONDS          give up after so long (default: never)\n"
    "  -H 'NAME: VALUE'    a header of the upgrade request; may be repeated\n"
    "  -p NAME=VALUE       a parameter of the URL's query, percent-encoded; may be repeated\n"
    "  -s NAMES            subprotocols to offer: 'chat, superchat'\n"
    "  --proxy URL         the way out: http://user:password@host:port, socks5://... (default:\n"
    "                      what https_proxy, http_proxy, all_proxy and no_proxy say)\n"
    "  --no-proxy          go directly, whatever the environment says\n"
    "  --max-redirects N   follow so many redirects of the server, 5 at most (default: 0)\n"
    "  --no-reconnect      end when the connection is lost or refused\n"
    "  --attempts N        give up after N attempts in a row that failed (default: unlimited)\n"
    "  --delay MS          delay before the first new attempt, growing to 30000\n"
    "                      (default: 1000; at least 250)\n"
    "  --heartbeat MS      ask so often whether the server is there; 0: never\n"
    "                      (default: 30000)\n"
    "  --once              never send a message twice: drop what may have arrived (default:\n"
    "                      send it again, so that it may arrive twice)\n"
    "  --confirm HOW       pong: a message is delivered when the server has answered a Ping\n"
    "                      that followed it; none: when it is written (default: pong)\n"
    "  --max-size BYTES    longest line or message (default: 1048576)\n"
    "  --ca FILE           wss://: the roots to trust, PEM (default: the system's)\n"
    "  --server-name NAME  and the name to find in the server's certificate (default: the URL's)\n"
    "  --pin PIN,...       and only servers with one of these keys: base64 of SHA-256 of the\n"
    "                      public key, as in RFC 7469\n"
    "  --cert FILE         a certificate to show, with what leads to its root, PEM\n"
    "  --key FILE          its key, PEM, not encrypted (default: in the file of --cert)\n"
    "  --insecure          trust anybody who answers (--pin is still obeyed)\n"
    "  -q                  on standard error errors alone, no states\n"
    "  -v                  what the library does, step by step\n"
    "  --stats             counts, when it ends\n"
    "  --help, --version\n"
    "\n"
    "Ctrl-C delivers what was read, closes, and ends; pressed again, it ends at once.\n"
    "Exit status: 0 all that was read was delivered (with -n: N messages were received);\n"
    "1 failed, or ended before that; 2 usage; 3 a message was dropped.\n";

typedef struct settings {
    mtws_options options;
    const char *url;
    mtws_pair *headers, *params; /* room for as many as there are arguments */
    size_t header_count, param_count;
    mtws_kind kind;
    unsigned send_flags;
    size_t max_size;
    uint64_t count;      /* 0: no limit */
    uint64_t wait_ms;    /* NEVER: until count is reached */
    uint64_t timeout_ms; /* NEVER: none */
    bool quiet, stats;
    char proxy[MTWS_PROXY_MAX]; /* of the environment */
    char *cert_text, *key_text; /* to be freed */
} settings;

/* Bytes on their way in or out: those between start and end. */
typedef struct buffer {
    uint8_t *data;
    size_t capacity, start, end;
} buffer;

typedef struct cat {
    const settings *set;
    mtws_client *ws;
    buffer in, out;
    size_t scanned; /* of in, from start: known to hold no newline */
    uint64_t line_number;
    bool line_too_long; /* its beginning has been thrown away */
    bool in_ended;
    bool held; /* the queue was full: nothing is read until MTWS_EVENT_WRITABLE */
    bool paused;
    bool was_connected;
    bool closing;
    bool out_broken;
    bool failed;
    uint64_t received, refused;
    uint64_t give_up_at; /* times in ms of the monotonic clock */
    uint64_t wait_until; /* NEVER until the input has ended and everything is delivered */
} cat;

/* ---- signals: a handler may set a flag and call mtws_wake ----------------------------------- */

static mtws_client *volatile signal_client;
static volatile sig_atomic_t signal_seen;

static void on_signal(int number) {
    (void)number;
    if (signal_seen) _exit(EXIT_FAILED);
    signal_seen = 1;
    if (signal_client) mtws_wake(signal_client);
}

static void catch_signals(mtws_client *ws) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN; /* a reader that went away is an error from write() instead */
    sigaction(SIGPIPE, &action, NULL);
    signal_client = ws;
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- small things --------------------------------------------------------------------------- */

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A standard descriptor that is closed would be given to the first socket. Standard output is
 * opened for reading, so that writing to it stays the error that it was. */
static void fill_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED);
}

static size_t buffer_size(const buffer *b) { return b->end - b->start; }

static bool buffer_make(buffer *b, size_t capacity) {
    b->data = malloc(capacity);
    b->capacity = capacity;
    return b->data != NULL;
}

/* Room at the end for at least size bytes, which the caller knows to be free in all. */
static void buffer_make_room(buffer *b, size_t size) {
    if (b->start == b->end) b->start = b->end = 0;
    if (b->capacity - b->end >= size) return;
    memmove(b->data, b->data + b->start, buffer_size(b));
    b->end = buffer_size(b);
    b->start = 0;
}

static void log_text(void *ctx, mtws_level level, const char *item, const char *text) {
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    (void)ctx;
    fprintf(stderr, "mtwscat: [%s] %s: %s\n", names[level], item, text);
}

/* ---- options -------------------------------------------------------------------------------- */

typedef enum option_id {
    OPT_BINARY,
    OPT_COUNT,
    OPT_WAIT,
    OPT_TIMEOUT,
    OPT_HEADER,
    OPT_PARAM,
    OPT_SUBPROTOCOLS,
    OPT_PROXY,
    OPT_NO_PROXY,
    OPT_MAX_REDIRECTS,
    OPT_NO_RECONNECT,
    OPT_ATTEMPTS,
    OPT_DELAY,
    OPT_HEARTBEAT,
    OPT_ONCE,
    OPT_CONFIRM,
    OPT_MAX_SIZE,
    OPT_CA,
    OPT_SERVER_NAME,
    OPT_PIN,
    OPT_CERT,
    OPT_KEY,
    OPT_INSECURE,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_STATS,
    OPT_HELP,
    OPT_VERSION,
    OPT_UNKNOWN
} option_id;

static const struct {
    const char *name;
    bool has_value;
} option_names[] = {
    /* in the order of option_id */
    {"-b", false},
    {"-n", true},
    {"-w", true},
    {"-t", true},
    {"-H", true},
    {"-p", true},
    {"-s", true},
    {"--proxy", true},
    {"--no-proxy", false},
    {"--max-redirects", true},
    {"--no-reconnect", false},
    {"--attempts", true},
    {"--delay", true},
    {"--heartbeat", true},
    {"--once", false},
    {"--confirm", true},
    {"--max-size", true},
    {"--ca", true},
    {"--server-name", true},
    {"--pin", true},
    {"--cert", true},
    {"--key", true},
    {"--insecure", false},
    {"-q", false},
    {"-v", false},
    {"--stats", false},
    {"--help", false},
    {"--version", false},
};

/* Values are never repeated in an error: they may be passwords or tokens. */
static void usage_error(const char *name, const char *problem) {
    fprintf(stderr, "mtwscat: %s%s%s; see mtwscat --help\n", name, *name ? ": " : "", problem);
    exit(EXIT_USAGE);
}

static uint64_t parse_number(const char *name, const char *text, uint64_t min, uint64_t max) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < min || value > max) {
        char problem[96];
        snprintf(problem, sizeof problem, "needs a whole number from %llu to %llu",
                 (unsigned long long)min, (unsigned long long)max);
        usage_error(name, problem);
    }
    return value;
}

static uint64_t parse_seconds(const char *name, const char *text) {
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= 0 && seconds <= 1e9))
        usage_error(name, "needs a number of seconds, such as 2 or 0.5");
    return (uint64_t)(seconds * 1000 + 0.5);
}

/* Cuts "name<separator>value" in two where it stands. */
static mtws_pair parse_pair(const char *name, char *text, char separator) {
    char *cut = strchr(text, separator);
    if (!cut || cut == text)
        usage_error(name, separator == ':' ? "needs 'Name: value'" : "needs name=value");
    *cut++ = '\0';
    if (separator == ':') cut += strspn(cut, " \t");
    mtws_pair pair = {text, cut};
    return pair;
}

static void parse_connection(settings *set, option_id id, const char *name, char *value) {
    mtws_options *options = &set->options;
    switch (id) {
    case OPT_HEADER: set->headers[set->header_count++] = parse_pair(name, value, ':'); break;
    case OPT_PARAM: set->params[set->param_count++] = parse_pair(name, value, '='); break;
    case OPT_SUBPROTOCOLS: options->subprotocols = value; break;
    case OPT_PROXY: options->proxy = value; break;
    case OPT_NO_PROXY: options->proxy = ""; break;
    case OPT_MAX_REDIRECTS: {
        int32_t count = (int32_t)parse_number(name, value, 0, 5);
        options->max_redirects = count ? count : MTWS_OFF;
        break;
    }
    case OPT_NO_RECONNECT: options->max_reconnect_attempts = MTWS_OFF; break;
    case OPT_ATTEMPTS:
        options->max_reconnect_attempts = (int32_t)parse_number(name, value, 1, INT32_MAX);
        break;
    case OPT_DELAY:
        options->initial_reconnect_delay_ms = (int32_t)parse_number(name, value, 250, 30000);
        break;
    default: {
        int32_t interval = (int32_t)parse_number(name, value, 0, INT32_MAX);
        options->heartbeat_interval_ms = interval ? interval : MTWS_OFF;
        break;
    }
    }
}

/* A whole file, which the library wants as text. */
static char *read_text(const char *name, const char *path) {
    enum { TEXT_MAX = 1 << 18 };
    char *text = calloc(1, TEXT_MAX);
    FILE *file = fopen(path, "r");
    size_t size = file && text ? fread(text, 1, TEXT_MAX - 1, file) : 0;
    if (size == 0) usage_error(name, "needs a file that can be read");
    fclose(file);
    return text;
}

static void parse_tls(settings *set, option_id id, const char *name, char *value) {
    mtws_options *options = &set->options;
    switch (id) {
    case OPT_CA: options->ca_file = value; break;
    case OPT_SERVER_NAME: options->server_name = value; break;
    case OPT_PIN: options->pin_sha256 = value; break;
    case OPT_INSECURE: options->insecure_skip_verify = true; break;
    case OPT_CERT:
        options->client_cert_pem = set->cert_text = read_text(name, value);
        if (!options->client_key_pem) options->client_key_pem = set->cert_text;
        break;
    default: options->client_key_pem = set->key_text = read_text(name, value); break;
    }
}

static void apply_option(settings *set, option_id id, const char *name, char *value) {
    switch (id) {
    case OPT_BINARY: set->kind = MTWS_BINARY; break;
    case OPT_ONCE: set->send_flags = MTWS_ONCE; break;
    case OPT_MAX_SIZE: set->max_size = (size_t)parse_number(name, value, 1, 1 << 30); break;
    case OPT_COUNT: set->count = parse_number(name, value, 1, UINT32_MAX); break;
    case OPT_WAIT: set->wait_ms = parse_seconds(name, value); break;
    case OPT_TIMEOUT: set->timeout_ms = parse_seconds(name, value); break;
    case OPT_QUIET: set->quiet = true; break;
    case OPT_STATS: set->stats = true; break;
    case OPT_CONFIRM:
        if (strcmp(value, "none") != 0 && strcmp(value, "pong") != 0)
            usage_error(name, "needs 'pong' or 'none'");
        set->options.confirm = *value == 'n' ? MTWS_CONFIRM_NONE : MTWS_CONFIRM_PONG;
        break;
    case OPT_CA:
    case OPT_SERVER_NAME:
    case OPT_PIN:
    case OPT_CERT:
    case OPT_KEY:
    case OPT_INSECURE: parse_tls(set, id, name, value); break;
    case OPT_VERBOSE:
        set->options.logger.log = log_text;
        set->options.logger.level = MTWS_LOG_DEBUG;
        break;
    case OPT_HELP: fputs(help, stdout); exit(fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED);
    case OPT_VERSION:
        printf("mtwscat, with mtws.h %s\n", mtws_version());
        exit(fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED);
    default: parse_connection(set, id, name, value); break;
    }
}

/* -n VALUE, -nVALUE, --name, --name VALUE, --name=VALUE; gives back how many arguments it took. */
static int parse_option(settings *set, char **arg) {
    char letter[] = {'-', (*arg)[1], '\0'};
    bool is_long = letter[1] == '-';
    const char *name = is_long ? *arg : letter;
    char *value = NULL;
    if (is_long && (value = strchr(*arg, '='))) *value++ = '\0';
    else if (!is_long && letter[1] && (*arg)[2]) value = *arg + 2;
    int id = 0;
    while (id < OPT_UNKNOWN && strcmp(name, option_names[id].name) != 0) id++;
    if (id == OPT_UNKNOWN) usage_error(name, "unknown option");
    if (value && !option_names[id].has_value) usage_error(name, "takes no value");
    bool separate = option_names[id].has_value && !value;
    if (separate && !(value = arg[1])) usage_error(name, "needs a value");
    apply_option(set, (option_id)id, name, value);
    return separate ? 2 : 1;
}

/* The proxy that the environment names, where no option does. */
static void look_for_proxy(settings *set) {
    if (set->options.proxy) return;
    mtws_result result = mtws_proxy_from_environment(set->url, set->proxy, sizeof set->proxy);
    if (result == MTWS_ERR_PROXY || result == MTWS_ERR_TOO_BIG)
        usage_error("", "the environment names a proxy that can't be used");
    set->options.proxy = set->proxy;
}

static void parse_arguments(settings *set, int argc, char **argv) {
    memset(set, 0, sizeof *set);
    set->headers = calloc((size_t)argc + 1, sizeof *set->headers);
    set->params = calloc((size_t)argc + 1, sizeof *set->params);
    if (!set->headers || !set->params) {
        fputs("mtwscat: out of memory\n", stderr);
        exit(EXIT_FAILED);
    }
    set->kind = MTWS_TEXT;
    set->max_size = MIB;
    set->wait_ms = NEVER;
    set->timeout_ms = NEVER;
    set->options.max_reconnect_attempts = MTWS_UNLIMITED;
    set->options.wakeable = true;

    for (char **arg = argv + 1; *arg;) {
        if (**arg == '-') arg += parse_option(set, arg);
        else if (set->url) usage_error("", "more than one URL");
        else set->url = *arg++;
    }
    if (!set->url) usage_error("", "no URL");
    look_for_proxy(set);
    if (set->wait_ms == NEVER && !set->count) set->wait_ms = 0;
    set->options.headers = set->headers;
    set->options.max_message_size = set->max_size;
    /* Twice the longest message, so that one can leave while the next comes in. */
    set->options.max_queue_size = set->max_size < MIB / 2 ? MIB : 2 * set->max_size;
}

/* ---- closing -------------------------------------------------------------------------------- */

/* Graceful; a second call ends the connection at once. */
static void start_closing(cat *c) {
    c->closing = true;
    mtws_disconnect(c->ws, 1000, NULL);
}

static void fail(cat *c, const char *what, const char *why) {
    fprintf(stderr, "mtwscat: %s: %s\n", what, why);
    c->failed = true;
}

/* ---- standard output ------------------------------------------------------------------------ */

/* The client is paused while another message of the largest size would not fit. */
static void pause_or_resume(cat *c) {
    bool full = c->out.capacity - buffer_size(&c->out) <= c->set->max_size;
    if (full == c->paused) return;
    c->paused = full;
    mtws_set_paused(c->ws, full);
}

static void put_message(cat *c, const mtws_event *message) {
    bool done = c->set->count && c->received == c->set->count;
    if (done || c->out_broken) return;
    c->received++;
    buffer_make_room(&c->out, message->size + 1);
    memcpy(c->out.data + c->out.end, message->data, message->size);
    c->out.end += message->size;
    if (message->kind == MTWS_TEXT || c->set->kind == MTWS_TEXT) c->out.data[c->out.end++] = '\n';
    pause_or_resume(c);
}

/* Never blocks: a pipe that poll calls writable takes PIPE_BUF bytes. O_NONBLOCK would not do, as
 * every program that has the same terminal shares it. */
static void write_output(cat *c, int timeout_ms) {
    buffer *out = &c->out;
    struct pollfd writable = {STDOUT_FILENO, POLLOUT, 0};
    while (buffer_size(out) > 0 && poll(&writable, 1, timeout_ms) > 0) {
        size_t size = buffer_size(out) < PIPE_BUF ? buffer_size(out) : PIPE_BUF;
        ssize_t written = write(STDOUT_FILENO, out->data + out->start, size);
        if (written >= 0) {
            out->start += (size_t)written;
        } else if (errno == EAGAIN || errno == EINTR) {
            break;
        } else {
            fail(c, "standard output", strerror(errno));
            c->out_broken = true;
            out->start = out->end;
            start_closing(c);
        }
    }
    pause_or_resume(c);
}

/* ---- standard input ------------------------------------------------------------------------- */

static void read_input(cat *c) {
    buffer *in = &c->in;
    buffer_make_room(in, in->capacity - buffer_size(in));
    ssize_t size = read(STDIN_FILENO, in->data + in->end, in->capacity - in->end);
    if (size > 0) in->end += (size_t)size;
    else if (size == 0) c->in_ended = true;
    else if (errno != EAGAIN && errno != EINTR) {
        c->in_ended = true;
        fail(c, "standard input", strerror(errno));
    }
}

/* Finds the next whole line, the last one without its newline too. *taken counts the newline. */
static bool next_line(cat *c, size_t *size, size_t *taken) {
    buffer *in = &c->in;
    uint8_t *from = in->data + in->start;
    uint8_t *newline = memchr(from + c->scanned, '\n', buffer_size(in) - c->scanned);
    c->scanned = 0;
    if (newline) {
        *size = (size_t)(newline - from);
        *taken = *size + 1;
        return true;
    }
    if (c->in_ended && (buffer_size(in) > 0 || c->line_too_long)) {
        *size = *taken = buffer_size(in);
        return true;
    }
    if (buffer_size(in) == in->capacity) {
        c->line_too_long = true;
        in->start = in->end = 0;
    }
    c->scanned = buffer_size(in);
    return false;
}

static void refuse_line(cat *c, const char *why) {
    c->refused++;
    fprintf(stderr, "mtwscat: line %llu not sent: %s\n", (unsigned long long)c->line_number, why);
}

/* Sends what has been read, until the queue is full: then the line stays where it is. */
static void send_lines(cat *c) {
    size_t size, taken;
    while (!c->held && !c->closing && next_line(c, &size, &taken)) {
        const uint8_t *line = c->in.data + c->in.start;
        mtws_result result = MTWS_ERR_TOO_BIG;
        if (!c->line_too_long && size <= c->set->max_size)
            result = mtws_send(c->ws, c->set->kind, line, size, c->set->send_flags, NULL);
        if (result == MTWS_ERR_QUEUE_FULL) {
            c->held = true;
            return;
        }
        c->line_number++;
        c->line_too_long = false;
        c->in.start += taken;
        if (result == MTWS_ERR_TOO_BIG) refuse_line(c, "longer than --max-size");
        else if (result != MTWS_OK) refuse_line(c, mtws_result_text(result));
    }
}

/* ---- the client ----------------------------------------------------------------------------- */

static void show_state(cat *c, const mtws_event *change) {
    if (change->state == MTWS_STATE_CONNECTED) c->was_connected = true;
    bool failed = change->state == MTWS_STATE_FAILED;
    c->failed = c->failed || failed;
    /* ERROR is passed through; what follows it says the same reason, and what will be done. */
    if ((c->set->quiet && !failed) || change->state == MTWS_STATE_ERROR) return;
    fprintf(stderr, "mtwscat: %s", mtws_state_name(change->state));
    if (change->state == MTWS_STATE_RECONNECTING)
        fprintf(stderr, " in %.2f s", change->retry_ms / 1000.0);
    /* What the server gave as its reason does not say the code; where it gave none, mtws.h does. */
    char closed[64];
    snprintf(closed, sizeof closed, "the server closed with %u", (unsigned)change->close_code);
    if (change->result == MTWS_ERR_CLOSED && strcmp(change->reason, closed) != 0)
        fprintf(stderr, ": %s", closed);
    if (*change->reason) fprintf(stderr, ": %s", change->reason);
    fputc('\n', stderr);
}

static void show_dropped(const mtws_event *dropped) {
    fprintf(stderr, "mtwscat: message %llu", (unsigned long long)dropped->first_id);
    if (dropped->id != dropped->first_id)
        fprintf(stderr, " to %llu", (unsigned long long)dropped->id);
    fprintf(stderr, " dropped%s: %s\n", dropped->written ? " (it may have arrived)" : "",
            mtws_result_text(dropped->result));
}

/* Takes every event there is; false once nothing will happen any more. */
static bool take_events(cat *c) {
    for (;;) {
        mtws_event event;
        int result = mtws_poll(c->ws, &event, 0);
        if (result <= 0) return result == 0;
        switch (event.type) {
        case MTWS_EVENT_STATE: show_state(c, &event); break;
        case MTWS_EVENT_MESSAGE: put_message(c, &event); break;
        case MTWS_EVENT_DROPPED: show_dropped(&event); break;
        case MTWS_EVENT_WRITABLE: c->held = false; break;
        default: break;
        }
    }
}

/* Messages that are neither delivered nor dropped. */
static uint64_t unsettled(const cat *c) {
    mtws_stats stats;
    mtws_get_stats(c->ws, &stats);
    return stats.queued_messages;
}

/* Whether it is time to close: asked when all events have been taken. */
static void decide(cat *c) {
    uint64_t now = now_ms();
    if (now >= c->give_up_at) {
        if (!c->failed) fail(c, "gave up", "the time that -t allows has passed");
        c->give_up_at = now + GRACE_MS;
        start_closing(c);
        return;
    }
    if (c->closing) return;
    if (c->in_ended && buffer_size(&c->in) == 0 && c->was_connected && c->wait_until == NEVER &&
        c->set->wait_ms != NEVER && unsettled(c) == 0)
        c->wait_until = now + c->set->wait_ms;
    bool enough = c->set->count && c->received == c->set->count;
    if (signal_seen || enough || now >= c->wait_until) start_closing(c);
}

static int time_left(const cat *c, int32_t client_timeout_ms) {
    uint64_t now = now_ms();
    uint64_t until = c->closing || c->give_up_at < c->wait_until ? c->give_up_at : c->wait_until;
    uint64_t left = until == NEVER ? NEVER : until > now ? until - now : 0;
    if (client_timeout_ms >= 0 && (uint64_t)client_timeout_ms < left) return client_timeout_ms;
    return left > INT_MAX ? -1 : (int)left;
}

/* Waits for the network, standard input and standard output together, and reads the input. */
static void wait_and_read(cat *c) {
    struct pollfd fds[MTWS_WAIT_MAX + 2];
    nfds_t count = 0;
    mtws_wait wait;
    mtws_get_wait(c->ws, &wait);
    for (int i = 0; i < wait.count; i++) {
        short events =
            (short)((wait.fds[i].want_read ? POLLIN : 0) | (wait.fds[i].want_write ? POLLOUT : 0));
        if (events) fds[count++] = (struct pollfd){wait.fds[i].fd, events, 0};
    }
    if (buffer_size(&c->out) > 0) fds[count++] = (struct pollfd){STDOUT_FILENO, POLLOUT, 0};
    bool wants_input = !c->in_ended && !c->held && !c->closing;
    if (wants_input) fds[count++] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    int ready = poll(fds, count, time_left(c, wait.timeout_ms));
    if (ready > 0 && wants_input && fds[count - 1].revents) read_input(c);
}

static void run(cat *c) {
    while (take_events(c)) {
        write_output(c, 0);
        send_lines(c);
        decide(c);
        wait_and_read(c);
    }
    /* The connection is over; what it brought is still to be written, within the same limits. */
    while (buffer_size(&c->out) > 0 && now_ms() < c->give_up_at)
        write_output(c, time_left(c, GRACE_MS));
}

static void show_stats(const mtws_stats *stats) {
    fprintf(stderr,
            "mtwscat: sent %llu messages (%llu again), %llu bytes; received %llu messages, "
            "%llu bytes\n",
            (unsigned long long)stats->messages_sent, (unsigned long long)stats->resent,
            (unsigned long long)stats->bytes_sent, (unsigned long long)stats->messages_received,
            (unsigned long long)stats->bytes_received);
    fprintf(stderr,
            "mtwscat: %llu connections, %llu failures, %llu messages dropped; round trip "
            "%.3f ms, at best %.3f ms\n",
            (unsigned long long)stats->connects, (unsigned long long)stats->failures,
            (unsigned long long)stats->dropped, stats->rtt_us / 1000.0, stats->rtt_min_us / 1000.0);
}

static int exit_status(const cat *c) {
    mtws_stats stats;
    mtws_get_stats(c->ws, &stats);
    if (c->set->stats) show_stats(&stats);
    bool enough = c->set->count && c->received == c->set->count;
    uint64_t left = stats.queued_messages;
    if (left > 0)
        fprintf(stderr, "mtwscat: ended with %llu message%s not delivered\n",
                (unsigned long long)left, left == 1 ? "" : "s");
    if (!enough && buffer_size(&c->in) > 0)
        fprintf(stderr, "mtwscat: ended before all input was sent\n");
    bool unfinished = c->set->count || left > 0 || buffer_size(&c->in) > 0 || !c->was_connected;
    if (c->failed || (unfinished && !enough) || buffer_size(&c->out) > 0) return EXIT_FAILED;
    return stats.dropped > 0 || c->refused > 0 ? EXIT_DROPPED : EXIT_DONE;
}

/* The texts for these say less than is known here. */
static const char *why_not_started(mtws_result result, bool created) {
    if (result == MTWS_ERR_URL && !created)
        return "--proxy needs http:// or socks5://, [user:password@]host and [:port]";
    if (result == MTWS_ERR_ARGUMENT)
        return "a header, parameter, subprotocol, pin, certificate or key is not valid; -v says "
               "which";
    if (result == MTWS_ERR_TLS)
        return "this mtwscat was built without TLS, which wss:// needs: make mtwscat TLS=1";
    if (result == MTWS_ERR_TLS_TRUST && !created)
        return "the file of --ca can't be read or has no certificate; -v says which";
    if (result == MTWS_ERR_TLS_TRUST)
        return "there are no roots to trust: give --ca FILE; -v says more";
    return mtws_result_text(result);
}

int main(int argc, char **argv) {
    fill_standard_descriptors();
    settings set;
    parse_arguments(&set, argc, argv);

    if (set.options.insecure_skip_verify) {
        fprintf(stderr, "mtwscat: --insecure: %s whom wss:// talks to\n",
                set.options.pin_sha256 == NULL ? "nobody checks" : "pins alone say");
    }

    cat c = {.set = &set, .wait_until = NEVER, .give_up_at = NEVER};
    if (set.timeout_ms != NEVER) c.give_up_at = now_ms() + set.timeout_ms;
    size_t in_size = set.max_size < READ_AHEAD ? READ_AHEAD : set.max_size + 1;
    bool has_memory = buffer_make(&c.in, in_size);
    has_memory = buffer_make(&c.out, 2 * (set.max_size + 1) + READ_AHEAD) && has_memory;

    int status;
    mtws_result result = has_memory ? mtws_create(&c.ws, &set.options) : MTWS_ERR_MEMORY;
    if (result == MTWS_OK) result = mtws_connect(c.ws, set.url, set.params);
    if (result == MTWS_OK) {
        catch_signals(c.ws);
        run(&c);
        status = exit_status(&c);
        signal_client = NULL;
    } else {
        fprintf(stderr, "mtwscat: %s\n", why_not_started(result, c.ws != NULL));
        bool is_usage = result != MTWS_ERR_MEMORY && result != MTWS_ERR_CONNECT;
        status = is_usage ? EXIT_USAGE : EXIT_FAILED;
    }
    mtws_destroy(c.ws);
    free(c.in.data);
    free(c.out.data);
    free(set.headers);
    free(set.params);
    free(set.cert_text);
    free(set.key_text);
    return status;
}
