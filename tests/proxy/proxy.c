/* The client through proxies that others wrote: tinyproxy and squid (CONNECT), microsocks and Dante
 * (SOCKS5), to python3-websockets and npm ws. Messages come back; a proxy that refuses says so; and
 * proxies are killed and started again under traffic, of which nothing is lost: what the servers
 * wrote into their ledger is compared with what the client said. Run from the folder tests, as
 * `make proxy` does.
 */
#define _DEFAULT_SOURCE
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include <sys/stat.h>

#include "../test.h"
#include "../interop/servers.h"

enum { MESSAGES = 1500, DEATHS = 4, BATCH = 8, LIMIT_MS = 40000, START_MS = 20000 };

/* ---- the proxies ------------------------------------------------------------------------------ */

typedef struct proxy_kind {
    const char *name, *program, *scheme;
    const char *arguments;     /* %d: the port, %s: the folder */
    const char *configuration; /* the file "configuration" in the folder; NULL: none */
    bool login;                /* it wants uncle and "sesame" */
} proxy_kind;

#define TINYPROXY "Port %1$d\nListen 127.0.0.1\nMaxClients 50\nTimeout 600\nLogLevel Critical\n"
#define SQUID                                                                                      \
    "http_port 127.0.0.1:%1$d\npid_filename none\ncache deny all\ncache_log /dev/null\n"           \
    "access_log none\nshutdown_lifetime 0 seconds\nvisible_hostname proxy\n"                       \
    "coredump_dir %2$s\npinger_enable off\nconnect_timeout 5 seconds\nvia off\n"

static const proxy_kind proxy_kinds[] = {
    {"tinyproxy", "tinyproxy", "http", "-d -c %2$s/configuration", TINYPROXY, false},
    {"tinyproxy with a login", "tinyproxy", "http", "-d -c %2$s/configuration",
     TINYPROXY "BasicAuth uncle sesame\n", true},
    {"squid with a login", "squid", "http", "-N -f %2$s/configuration",
     SQUID "auth_param basic program /usr/lib/squid/basic_ncsa_auth %2$s/passwords\n"
           "auth_param basic children 2\nauth_param basic realm proxy\n"
           "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
     true},
    {"microsocks", "microsocks", "socks5", "-i 127.0.0.1 -p %1$d", NULL, false},
    {"microsocks with a login", "microsocks", "socks5h", "-i 127.0.0.1 -p %1$d -u uncle -P sesame",
     NULL, true},
    {"Dante", "danted", "socks5", "-f %2$s/configuration",
     "logoutput: /dev/null\ninternal: 127.0.0.1 port = %1$d\nexternal: 127.0.0.1\n"
     "clientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n"
     "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
     "socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n",
     false},
};
enum { PROXY_KINDS = sizeof proxy_kinds / sizeof proxy_kinds[0] };

/* A row of its own: what tinyproxy does not let through. */
static const proxy_kind tinyproxy_443 = {
    "tinyproxy for port 443",      "tinyproxy", "http", "-d -c %2$s/configuration",
    TINYPROXY "ConnectPort 443\n", false};

typedef struct proxy_process {
    const proxy_kind *kind;
    pid_t pid; /* and process group; 0: not running */
    int port;
    char folder[64];
} proxy_process;

static void write_file(const char *folder, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!CHECK(file != NULL)) return;
    fputs(text, file);
    fclose(file);
}

static bool listens(int port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    bool yes = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return yes;
}

static void nap(long ms) {
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* The child's part: a process group of its own, which dies with its parent. */
static void proxy_run(const proxy_process *p) {
    char text[256], *words[16];
    size_t count = 1;
    setpgid(0, 0);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    snprintf(text, sizeof text, p->kind->arguments, p->port, p->folder);
    words[0] = (char *)(uintptr_t)p->kind->program;
    for (char *at = strtok(text, " "); at != NULL && count < 15; at = strtok(NULL, " ")) {
        words[count++] = at;
    }
    words[count] = NULL;
    int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    execvp(words[0], words);
    _exit(127);
}

static void proxy_spawn(proxy_process *p) {
    fflush(stdout);
    p->pid = fork();
    if (p->pid == 0) proxy_run(p);
    setpgid(p->pid, p->pid);
}

static bool proxy_start(proxy_process *p, const proxy_kind *kind) {
    char text[1024];
    memset(p, 0, sizeof *p);
    p->kind = kind;
    p->port = free_port();
    snprintf(p->folder, sizeof p->folder, "/tmp/mtws-proxy-XXXXXX");
    if (!CHECK(mkdtemp(p->folder) != NULL)) return false;
    CHECK(chmod(p->folder, 0755) == 0); /* squid gives up being root */
    if (kind->configuration != NULL) {
        snprintf(text, sizeof text, kind->configuration, p->port, p->folder);
        write_file(p->folder, "configuration", text);
    }
    /* "sesame", as htpasswd -d writes it. */
    write_file(p->folder, "passwords", "uncle:NrtHZY5N1GKPI\n");
    proxy_spawn(p);
    for (uint64_t until = now_ms() + START_MS; now_ms() < until; nap(20)) {
        if (listens(p->port)) return true;
    }
    return FAIL("%s did not start", kind->name);
}

static void proxy_end(proxy_process *p, int number) {
    int status;
    if (p->pid <= 0) return;
    kill(-p->pid, number);
    for (int i = 0; i < 300 && waitpid(p->pid, &status, WNOHANG) == 0; i++) {
        if (i == 200) kill(-p->pid, SIGKILL);
        nap(10);
    }
    kill(-p->pid, SIGKILL); /* helpers that its master left */
    p->pid = 0;
}

static void proxy_finish(proxy_process *p) {
    static const char *const names[] = {"configuration", "passwords"};
    char path[128];
    proxy_end(p, SIGKILL);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", p->folder, names[i]);
        unlink(path);
    }
    rmdir(p->folder);
}

static void proxy_url(const proxy_process *p, const char *login, char out[128]) {
    snprintf(out, 128, "%s://%s%s127.0.0.1:%d", p->kind->scheme, login, login[0] ? "@" : "",
             p->port);
}

static void good_url(const proxy_process *p, char out[128]) {
    proxy_url(p, p->kind->login ? "uncle:s%65same" : "", out);
}

/* ---- messages --------------------------------------------------------------------------------- */

typedef struct traffic {
    mtws_client *ws;
    proxy_process *proxy;
    char ledger[64];
    unsigned sent, echoed, settled, deaths;
    bool delivered[MESSAGES + 1];
    unsigned seen[MESSAGES + 1], last_seen;
} traffic;

static void settle(traffic *t, const mtws_event *e) {
    CHECK_INT(e->type, MTWS_EVENT_DELIVERED);
    for (uint64_t i = e->first_id; i <= e->id && i <= MESSAGES; i++) {
        CHECK_TEXT(!t->delivered[i], "%u is settled twice", (unsigned)i);
        t->delivered[i] = true;
        t->settled++;
    }
}

static void take(traffic *t, const mtws_event *e) {
    char text[NUMBERED_MAX];
    if (e->type == MTWS_EVENT_DELIVERED || e->type == MTWS_EVENT_DROPPED) settle(t, e);
    if (e->type == MTWS_EVENT_STATE) CHECK(e->state != MTWS_STATE_FAILED);
    if (e->type != MTWS_EVENT_MESSAGE) return;
    CHECK_UINT(e->size, numbered(text, ++t->echoed));
    CHECK_MEM(e->data, text, e->size);
}

static void send_some(traffic *t, unsigned most) {
    for (int i = 0; i < BATCH && t->sent < most; i++) {
        char text[NUMBERED_MAX];
        size_t size = numbered(text, t->sent + 1);
        mtws_result result = mtws_send(t->ws, MTWS_TEXT, text, size, 0, NULL);
        if (result == MTWS_ERR_QUEUE_FULL) return;
        if (!CHECK_INT(result, MTWS_OK)) return;
        t->sent++;
    }
}

static void pump(traffic *t) {
    mtws_event e;
    int32_t wait_ms = 1;
    while (mtws_poll(t->ws, &e, wait_ms) == 1 && !test_failing()) {
        take(t, &e);
        wait_ms = 0;
    }
}

static bool begin(traffic *t, proxy_process *proxy, const server *origin, const char *path,
                  mtws_options *options) {
    char url[96], proxy_text[128];
    memset(t, 0, sizeof *t);
    t->proxy = proxy;
    good_url(proxy, proxy_text);
    options->max_reconnect_attempts = MTWS_UNLIMITED;
    options->initial_reconnect_delay_ms = 250;
    options->max_reconnect_delay_ms = 400;
    options->heartbeat_interval_ms = 300;
    options->confirm_delay_ms = 20;
    if (options->transport.open == NULL) options->proxy = proxy_text;
    /* A name, which the proxy is to resolve. */
    snprintf(url, sizeof url, "ws://localhost:%d%s", origin->port, path);
    return CHECK_INT(mtws_create(&t->ws, options), MTWS_OK) &&
           CHECK_INT(mtws_connect(t->ws, url, NULL), MTWS_OK);
}

/* Two hundred messages come back, through the client's own way, or through its network as a
 * transport of the program's. */
static void echoes(traffic *t, proxy_process *proxy, const server *origin, bool own) {
    static unsigned char memory[MTWS_NET_MEMORY_SIZE];
    mtws_options options;
    mtws_transport net;
    char url[128];
    memset(&options, 0, sizeof options);
    memset(&net, 0, sizeof net);
    if (!own) {
        good_url(proxy, url);
        CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
        CHECK_INT(mtws_net_set_proxy(&net, url), MTWS_OK);
        options.transport = net;
    }
    if (begin(t, proxy, origin, "/echo", &options)) {
        uint64_t until = now_ms() + LIMIT_MS;
        while ((t->echoed < 200 || t->settled < 200) && now_ms() < until && !test_failing()) {
            send_some(t, 200);
            pump(t);
        }
        CHECK_UINT(t->echoed, 200);
        CHECK_UINT(t->settled, 200);
        mtws_stats stats;
        mtws_get_stats(t->ws, &stats);
        CHECK_UINT(stats.connects, 1);
    }
    mtws_destroy(t->ws);
    mtws_net_destroy(&net);
}

/* ---- refusals --------------------------------------------------------------------------------- */

/* The first ERROR event of a client that asks this proxy for this port. */
static mtws_event refused_in(int32_t connect_timeout_ms, const char *proxy, int port, char *reason,
                             size_t size) {
    mtws_client *ws;
    mtws_event e, error;
    mtws_options options;
    char url[64];
    memset(&options, 0, sizeof options);
    memset(&error, 0, sizeof error);
    options.proxy = proxy;
    options.max_reconnect_attempts = 1;
    options.initial_reconnect_delay_ms = 250;
    options.connect_timeout_ms = connect_timeout_ms;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/echo", port);
    reason[0] = 0;
    if (!CHECK_INT(mtws_create(&ws, &options), MTWS_OK)) return error;
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    uint64_t until = now_ms() + LIMIT_MS;
    while (now_ms() < until && mtws_poll(ws, &e, 1000) >= 0) {
        if (e.type != MTWS_EVENT_STATE) continue;
        CHECK(e.state != MTWS_STATE_CONNECTED);
        if (e.state != MTWS_STATE_ERROR || error.result != 0) continue;
        error = e;
        snprintf(reason, size, "%s", e.reason);
    }
    CHECK_INT(mtws_get_state(ws), MTWS_STATE_FAILED);
    mtws_destroy(ws);
    return error;
}

static mtws_event refused(const char *proxy, int port, char *reason, size_t size) {
    return refused_in(LIMIT_MS / 2, proxy, port, reason, size);
}

/* A socket on which nobody listens, and which keeps its port from others. */
static int silent_port(int *port) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = bound_socket(0);
    CHECK(fd >= 0 && getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void refusals(const proxy_process *proxy, int server_port) {
    char url[128], reason[256];
    mtws_event e;
    int port, fd = silent_port(&port);
    bool http = strcmp(proxy->kind->scheme, "http") == 0;
    good_url(proxy, url);
    e = refused(url, port, reason, sizeof reason);
    close(fd);
    CHECK_INT(e.result, MTWS_ERR_PROXY);
    if (http) CHECK_TEXT(e.http_status >= 500, "%u: %s", e.http_status, reason);
    else CHECK_TEXT(e.http_status == 0 && strstr(reason, "refused") != NULL, "%s", reason);
    if (!proxy->kind->login) return;
    static const char *const logins[] = {"", "uncle:canary-word", "canary-user:sesame"};
    for (size_t i = 0; i < 3; i++) {
        test_context("login \"%s\"", logins[i]);
        proxy_url(proxy, logins[i], url);
        e = refused(url, server_port, reason, sizeof reason);
        CHECK_INT(e.result, MTWS_ERR_PROXY);
        /* tinyproxy 1.11 says 401 where they are wrong. */
        if (http) CHECK_TEXT(e.http_status == 407 || (i > 0 && e.http_status == 401), "%s", reason);
        else CHECK_UINT(e.http_status, 0);
        CHECK_TEXT(strstr(reason, i == 0 ? "user and password" : "refused the user") != NULL, "%s",
                   reason);
        CHECK(strstr(reason, "canary") == NULL);
    }
    test_context("%s", "");
}

static void not_through_443(void) {
    proxy_process proxy;
    char url[128], reason[256];
    if (proxy_start(&proxy, &tinyproxy_443)) {
        int port, fd = silent_port(&port);
        good_url(&proxy, url);
        mtws_event e = refused(url, port, reason, sizeof reason);
        close(fd);
        CHECK_INT(e.result, MTWS_ERR_PROXY);
        CHECK_UINT(e.http_status, 403);
        CHECK(strstr(reason, "does not allow") != NULL);
    }
    proxy_finish(&proxy);
}

/* Each language to a proxy of the other, and to a server that is no proxy. */
static void wrong_language(void) {
    proxy_process tinyproxy, microsocks;
    server origin;
    char url[128], reason[256];
    mtws_event e;
    memset(&microsocks, 0, sizeof microsocks);
    bool ready = proxy_start(&tinyproxy, &proxy_kinds[0]) &&
                 proxy_start(&microsocks, &proxy_kinds[3]) &&
                 server_start(&origin, &server_kinds[0], 0, NULL);
    if (ready) {
        /* tinyproxy waits for the line to end. */
        snprintf(url, sizeof url, "socks5://127.0.0.1:%d", tinyproxy.port);
        e = refused_in(1000, url, origin.port, reason, sizeof reason);
        CHECK_INT(e.result, MTWS_ERR_TIMEOUT);
        snprintf(url, sizeof url, "http://127.0.0.1:%d", microsocks.port);
        e = refused(url, origin.port, reason, sizeof reason);
        CHECK_INT(e.result, MTWS_ERR_PROXY);
        snprintf(url, sizeof url, "http://127.0.0.1:%d", origin.port);
        e = refused(url, origin.port, reason, sizeof reason);
        CHECK_INT(e.result, MTWS_ERR_PROXY);
        int port, fd = silent_port(&port);
        snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
        e = refused(url, origin.port, reason, sizeof reason);
        close(fd);
        CHECK_INT(e.result, MTWS_ERR_CONNECT);
        CHECK_TEXT(strstr(reason, "through the proxy 127.0.0.1") != NULL, "%s", reason);
    }
    server_end(&origin, SIGKILL);
    proxy_finish(&tinyproxy);
    if (microsocks.kind != NULL) proxy_finish(&microsocks);
}

/* ---- killed under traffic --------------------------------------------------------------------- */

/* What is delivered is in the ledger, and each new number is the next. */
static void compare(traffic *t) {
    char line[NUMBERED_MAX + 2], text[NUMBERED_MAX];
    FILE *file = fopen(t->ledger, "r");
    memset(t->seen, 0, sizeof t->seen);
    t->last_seen = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL && !test_failing()) {
        unsigned number = (unsigned)strtoul(line, NULL, 10);
        size_t size = strcspn(line, "\n");
        if (!CHECK_TEXT(number >= 1 && number <= t->sent, "number %u in the ledger", number)) break;
        CHECK_UINT(size, numbered(text, number));
        CHECK_MEM(line, text, size);
        if (t->seen[number]++ == 0) CHECK_UINT(number, t->last_seen + 1);
        if (number > t->last_seen) t->last_seen = number;
    }
    if (file != NULL) fclose(file);
    for (unsigned i = 1; i <= t->sent; i++) {
        if (t->delivered[i]) CHECK_TEXT(t->seen[i] > 0, "%u is delivered, and lost", i);
    }
}

/* Every other death is a SIGTERM; every other time the proxy stays away for a while. */
static void die_and_return(traffic *t) {
    proxy_end(t->proxy, t->deaths % 2 == 1 ? SIGTERM : SIGKILL);
    pump(t);
    uint64_t until = now_ms() + (t->deaths % 2 == 1 ? 400 : 0);
    while (now_ms() < until && !test_failing()) {
        send_some(t, MESSAGES);
        pump(t);
    }
    compare(t);
    proxy_spawn(t->proxy);
    t->deaths++;
}

static bool death_is_due(const traffic *t) {
    mtws_stats stats;
    if (t->deaths >= DEATHS || t->sent < (t->deaths + 1) * MESSAGES / (DEATHS + 1)) return false;
    mtws_get_stats(t->ws, &stats);
    return mtws_get_state(t->ws) == MTWS_STATE_CONNECTED && stats.unconfirmed_messages > 0;
}

static void killed(traffic *t, proxy_process *proxy, const server_kind *kind) {
    server origin;
    mtws_options options;
    mtws_stats stats;
    char ledger[64];
    snprintf(ledger, sizeof ledger, "/tmp/mtws-ledger-XXXXXX");
    int fd = mkstemp(ledger);
    if (!CHECK(fd >= 0)) return;
    close(fd);
    memset(&options, 0, sizeof options);
    options.max_queue_size = 65536;
    if (server_start(&origin, kind, 0, ledger) && begin(t, proxy, &origin, "/ledger", &options)) {
        memcpy(t->ledger, ledger, sizeof ledger);
        uint64_t until = now_ms() + LIMIT_MS;
        while (t->settled < MESSAGES && now_ms() < until && !test_failing()) {
            send_some(t, MESSAGES);
            pump(t);
            if (death_is_due(t)) die_and_return(t);
        }
        compare(t);
        mtws_get_stats(t->ws, &stats);
        CHECK_UINT(t->settled, MESSAGES);
        CHECK_UINT(t->last_seen, MESSAGES);
        CHECK_UINT(t->deaths, DEATHS);
        CHECK(stats.connects >= DEATHS + 1 && stats.failures >= DEATHS);
        printf("  %s to %s: %u messages, %u deaths of the proxy, %u connections, %u sent again\n",
               proxy->kind->name, kind->name, t->settled, t->deaths, (unsigned)stats.connects,
               (unsigned)stats.resent);
        mtws_destroy(t->ws);
    }
    server_end(&origin, SIGKILL);
    unlink(ledger);
}

/* ---- all of them ------------------------------------------------------------------------------ */

static void proxies(void) {
    static traffic t;
    for (size_t i = 0; i < PROXY_KINDS; i++) {
        const proxy_kind *kind = &proxy_kinds[i];
        proxy_process proxy;
        server origin;
        for (size_t k = 0; k < SERVER_KINDS; k++) {
            if (test_begin("%s: to %s and back", kind->name, server_kinds[k].name)) {
                bool ready = server_start(&origin, &server_kinds[k], 0, NULL);
                if (proxy_start(&proxy, kind) && ready) {
                    echoes(&t, &proxy, &origin, true);
                    echoes(&t, &proxy, &origin, false);
                    if (k == 0) refusals(&proxy, origin.port);
                }
                server_end(&origin, SIGKILL);
                proxy_finish(&proxy);
                test_end();
            }
            if (test_begin("%s: killed on the way to %s", kind->name, server_kinds[k].name)) {
                if (proxy_start(&proxy, kind)) killed(&t, &proxy, &server_kinds[k]);
                proxy_finish(&proxy);
                test_end();
            }
        }
    }
}

/* ---- redirects -------------------------------------------------------------------------------- */

/* The child's part: answers each connection with a redirect. */
static void redirector_run(int listener, const char *location) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    for (;;) {
        char bytes[4096], answer[256];
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) _exit(1);
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        int size = snprintf(answer, sizeof answer,
                            "HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\n"
                            "Content-Length: 0\r\n\r\n",
                            location);
        if (got > 0 && write(fd, answer, (size_t)size) < 0) _exit(1);
        close(fd);
    }
}

/* A redirect to a real server, directly and through a proxy. */
static void redirects(void) {
    static traffic t;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char location[64], url[64], proxy_text[128];
    server origin;
    proxy_process proxy;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 5) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    bool ready = server_start(&origin, &server_kinds[0], 0, NULL);
    snprintf(location, sizeof location, "http://localhost:%d/echo", origin.port);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) redirector_run(listener, location);
    close(listener);
    ready = proxy_start(&proxy, &proxy_kinds[0]) && ready && CHECK(pid > 0);
    good_url(&proxy, proxy_text);
    for (int through = 0; through < 2 && ready; through++) {
        mtws_options options;
        memset(&options, 0, sizeof options);
        memset(&t, 0, sizeof t);
        options.max_redirects = 3;
        options.proxy = through ? proxy_text : NULL;
        snprintf(url, sizeof url, "ws://127.0.0.1:%d/elsewhere", ntohs(address.sin_port));
        CHECK_INT(mtws_create(&t.ws, &options), MTWS_OK);
        CHECK_INT(mtws_connect(t.ws, url, NULL), MTWS_OK);
        uint64_t until = now_ms() + LIMIT_MS;
        while (t.echoed < 20 && now_ms() < until && !test_failing()) {
            send_some(&t, 20);
            pump(&t);
        }
        CHECK_UINT(t.echoed, 20);
        mtws_destroy(t.ws);
    }
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    server_end(&origin, SIGKILL);
    proxy_finish(&proxy);
}

/* ---- mtwscat ---------------------------------------------------------------------------------- */

/* Whether the file is the numbers from 1 to 100, a line each. */
static bool has_numbers(const char *path) {
    char line[32];
    unsigned number = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strtoul(line, NULL, 10) != ++number) break;
    }
    if (file != NULL) fclose(file);
    return number == 100;
}

static void mtwscat(void) {
    static const struct {
        const char *before, *options;
        int status; /* of mtwscat */
        bool through;
    } rows[] = {
        {"", "--proxy \"$PROXY\"", 0, true},
        {"http_proxy=\"$PROXY\"", "", 0, true},
        {"all_proxy=\"$PROXY\" no_proxy=example.com", "", 0, true},
        {"http_proxy=\"$PROXY\" no_proxy=localhost", "", 0, false},
        {"http_proxy=\"$PROXY\"", "--no-proxy", 0, false},
        {"HTTP_PROXY=\"$PROXY\"", "", 0, false},
        {"", "--proxy \"$WRONG\"", 1, false},
        {"http_proxy=\"$WRONG\"", "", 1, false},
    };
    const char *program = getenv("MTWSCAT");
    char command[512], text[192], ledger[64] = "/tmp/mtws-ledger-XXXXXX";
    proxy_process proxy;
    server origin;
    int fd = mkstemp(ledger);
    if (!CHECK(program != NULL && fd >= 0)) return;
    bool ready = server_start(&origin, &server_kinds[0], 0, ledger);
    if (proxy_start(&proxy, &proxy_kinds[1]) && ready) {
        good_url(&proxy, text);
        setenv("PROXY", text, 1);
        proxy_url(&proxy, "uncle:canary", text);
        setenv("WRONG", text, 1);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            test_context("%s mtwscat %s", rows[i].before, rows[i].options);
            CHECK(ftruncate(fd, 0) == 0);
            snprintf(command, sizeof command,
                     "seq 100 | %s timeout 30 %s -v %s ws://localhost:%d/ledger 2>%s.said",
                     rows[i].before, program, rows[i].options, origin.port, ledger);
            int status = system(command);
            CHECK_INT(WEXITSTATUS(status), rows[i].status);
            CHECK_INT(has_numbers(ledger), rows[i].status == 0);
            snprintf(command, sizeof command, "grep -q 'through the proxy 127.0.0.1' %s.said",
                     ledger);
            CHECK_INT(system(command) == 0, rows[i].through || rows[i].status != 0);
            snprintf(command, sizeof command, "grep -q -e canary -e sesame %s.said", ledger);
            CHECK(system(command) != 0);
            if (rows[i].status != 0) {
                snprintf(command, sizeof command, "grep -q 'refused the user' %s.said", ledger);
                CHECK(system(command) == 0);
            }
        }
    }
    close(fd);
    unlink(ledger);
    snprintf(command, sizeof command, "%s.said", ledger);
    unlink(command);
    server_end(&origin, SIGKILL);
    proxy_finish(&proxy);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(proxies), TEST(not_through_443),
                                       TEST(wrong_language), TEST(redirects), TEST(mtwscat)};
    return TEST_MAIN(tests, argc, argv);
}
