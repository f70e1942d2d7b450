/* mtws.h: a WebSocket connection that stays. RFC 6455 client in one header, C99 or C++11.
 *
 * Version 0.1.0. No warranty. Licence: MIT-0 or public domain, as you choose; see the end of the
 * file.
 *
 *     #define MTWS_IMPLEMENTATION      in ONE .c file, before anything else is included
 *     #include "mtws.h"
 *
 * and plain #include "mtws.h" everywhere else. Nothing to link but libc; for wss:// also
 *
 *     #define MTWS_BEARSSL             before that #include, and -lbearssl (Debian: libbearssl-dev)
 *
 *
 * WHAT IT IS
 *
 * A client that holds a WebSocket connection open for years: it connects, notices when the link is
 * dead, reconnects with backoff and jitter, keeps what could not be sent, sends it again until the
 * server has it, and tells what became of every message. One call, mtws_poll, drives it. There is
 * no thread, no global, no callback you must write, and no allocation after mtws_create.
 *
 *
 * A COMPLETE PROGRAM
 *
 *     #define MTWS_IMPLEMENTATION
 *     #include "mtws.h"
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         mtws_options o = {0};                         // zero is always the default
 *         o.max_reconnect_attempts = MTWS_UNLIMITED;    // in C++: mtws_options o = mtws_options();
 *         mtws_client *ws;
 *         mtws_event e;
 *         if (mtws_create(&ws, &o) != MTWS_OK) return 1;
 *         if (mtws_connect(ws, "ws://127.0.0.1:9001/", NULL) != MTWS_OK) return 1;
 *         mtws_send_text(ws, "hello");                  // kept until the server has it
 *         while (mtws_poll(ws, &e, -1) >= 0) {          // until disconnected or failed
 *             if (e.type == MTWS_EVENT_MESSAGE) {
 *                 printf("%.*s\n", (int)e.size, (const char *)e.data);
 *                 mtws_disconnect(ws, 1000, NULL);
 *             } else if (e.type == MTWS_EVENT_STATE) {
 *                 printf("%s %s\n", mtws_state_name(e.state), e.reason);
 *             }
 *         }
 *         mtws_destroy(ws);
 *         return 0;
 *     }
 *
 * With MTWS_UNLIMITED the loop ends after mtws_disconnect, and where no retry can mend an error:
 * see A CLIENT'S LIFE.
 *
 *
 * CONTENTS (search for the tag)
 *
 *     >>config     macros that you may define
 *     >>api        types and functions, each documented
 *     >>platform   every call to the system
 *     >>bytes >>names >>sha1 >>base64 >>utf8 >>json >>random >>url >>http >>handshake >>frame
 *     >>message >>queue >>backoff >>heartbeat >>cert >>dns >>race
 *                                                           pure rooms: no I/O, no clock, no heap
 *     >>net        names and TCP as a transport
 *     >>proxy      the way through a proxy
 *     >>way        the network as a transport for yours to stand on
 *     >>tls        BearSSL as a transport over it
 *     >>client     the state machine
 *     >>public     the functions of api
 *
 *
 * WHAT IT PROMISES
 *
 * 1. It stays connected. Whatever fails, it is CONNECTED again within one connect timeout, one
 *    capped delay (or what the server's Retry-After asks for) and one connection after the cause
 *    is gone; unless it was told to stop, its attempts are limited and used up, or no retry can
 *    mend the error.
 * 2. Nothing is lost in silence. Every message that mtws_send took ends in exactly one event,
 *    DELIVERED or DROPPED with a reason; only mtws_destroy ends it without.
 * 3. mtws_poll does not block longer than it was asked to: not for a name, a connection or a close.
 *    Its work per call is bounded, whatever servers send; see WORK.
 * 4. Memory is one block of mtws_memory_required(&options) bytes. Every queue and text has a limit
 *    with a name, and an error that says which.
 * 5. A dead link is noticed within heartbeat_interval_ms + heartbeat_timeout_ms; the timeout counts
 *    four times where bytes still come in or leave, since the link may only be slow. Not so while
 *    the program has paused the client, and messages wait for it.
 * 6. The server is not trusted: no byte sequence from it causes undefined behaviour, unbounded
 *    memory or unbounded work.
 * 7. The same inputs give the same run: time, randomness and I/O come through hooks.
 *
 *
 * A CLIENT'S LIFE
 *
 *     disconnected            mtws_create; nothing happens until mtws_connect
 *       | mtws_connect
 *     connecting              the first attempt: name, TCP, proxy, TLS, redirects, upgrade, within
 *                             connect_timeout_ms
 *       | the server agreed
 *     connected               messages flow; Pings ask whether the peer is there
 *       | anything failed
 *     error                   passed through: the event says what failed
 *       |
 *     reconnecting            waiting retry_ms, then trying; back to connected, or to error
 *     failed                  no more attempts; mtws_retry_now or mtws_connect begin again
 *     waiting_for_network     entered from error, or while reconnecting waits: no attempts while it
 *                             is certain that there is no network; one at once when it is back,
 *                             with small delays again
 *
 * The client calls itself offline only when that is certain: no interface but the loopback is up
 * with an address, or the system has no route (ENETUNREACH) to any address of the target, or to any
 * name server where none is known. Netlink on Linux, a route socket on the BSDs and macOS, tells
 * when to look, and waiting_for_network looks again every max_reconnect_delay_ms. On other systems,
 * where neither can be had, and for transports of your own it never is: set options.network to
 * MTWS_NETWORK_MANUAL and call mtws_set_network. With MTWS_NETWORK_AUTO a target on the loopback
 * is never offline. A network change probes an open connection, and never closes it.
 *
 * mtws_disconnect leads to disconnected from everywhere. The state changes only within mtws_poll,
 * as the event that tells of it is handed over, so program and client never disagree about it.
 *
 * What fails, and what follows:
 *
 *     what failed                                what follows
 *     ----------------------------------------   -------------------------------------------------
 *     upgrade answered with 401, 403 or 410;     failed at once
 *       Close with 1010
 *     upgrade answered with any other 2xx, 3xx   before the first connection: failed. After it:
 *       or 4xx, or with no RFC 6455 answer;        retried after max_reconnect_delay_ms, and the
 *       MTWS_ERR_TLS_TRUST, MTWS_ERR_TLS_NAME;     log says ERROR (a bad deploy passes)
 *       a proxy's refusal, see WAYS OUT
 *     the server's Close with 1002, 1003, 1007,  retried after max_reconnect_delay_ms
 *       1008 or 1009
 *     its Close with 1012 or 1013                retried after a full delay
 *     429 or 503 with Retry-After, a proxy's     retried after what it asks for, at least (an hour
 *       too                                        at most), and up to a tenth more at random, or
 *                                                  as much as delays differ, if that is more
 *     all else: 408, 425, 429, 5xx, its Close    retried after a delay
 *       with 1000 or 1001, a reset, a timeout,
 *       MTWS_ERR_TLS, MTWS_ERR_TLS_TIME, and
 *       what makes us close: MTWS_ERR_PROTOCOL,
 *       MTWS_ERR_UTF8, MTWS_ERR_TOO_BIG
 *
 * With max_reconnect_attempts MTWS_OFF nothing is retried: a Close frame of the server, but 1010,
 * leads to disconnected, and everything else to failed.
 *
 * A delay: with d = initial_reconnect_delay_ms * reconnect_backoff_factor^n, but at most
 * max_reconnect_delay_ms, it is drawn evenly between d / 2 and 3 * d. A full delay is drawn between
 * d and 3 * d, and is at least three quarters of max_reconnect_delay_ms where d comes near to that.
 * No delay is over max_reconnect_delay_ms, and none under 250 ms. So the clients that lost one
 * server come back apart: of 10,000 fewer than 8 % try within any 100 ms (make -C tests herd). n
 * begins at 0 again once a connection has been open for stable_ms and, where heartbeats run, has
 * answered one.
 *
 *
 * NAMES
 *
 * The header resolves host names itself, so that no name server can stall a program:
 *   - an address in digits, localhost and names under it: nobody is asked;
 *   - /etc/hosts, read at each attempt, a large one in steps of 64 KiB a call; what it does not
 *     have under onion is an error (RFC 7686: Tor's SOCKS5 proxy takes such names);
 *   - then the name servers of /etc/resolv.conf (nameserver, of IPv6 with zone too; search, domain,
 *     ndots, timeout, attempts, rotate), which is read again where it has changed; or those of
 *     options.dns_servers. Without any: the one at 127.0.0.1. IPv4 and IPv6 are asked for at once,
 *     over UDP with EDNS0, over TCP where the answer is truncated. A server that is silent for 2 s
 *     (options.dns_timeout_ms, resolv.conf's timeout) is followed by the next, one that fails at
 *     once; the one that answered last is asked first the next time.
 *   - What they say is kept for its time to live, within MTWS_DNS_TTL_MIN and _MAX; where an
 *     attempt failed, or the network changed, it is asked for anew, at most once in
 *     MTWS_DNS_TTL_MIN seconds; what no server could say of IPv6 or IPv4, with each attempt. Where
 *     every server is silent or fails, addresses whose time is over are used for up to
 *     MTWS_DNS_STALE_MAX seconds more (RFC 8767), with a WARN "dns_stale" in the log.
 *   - An answer counts only from the server that was asked, with the question's id, port and
 *     letters in their random cases; DNSSEC is not checked, so who sits between can forge.
 *
 * Connections are tried to IPv6 and IPv4 by turns, 250 ms apart (a tenth of connect_timeout_ms if
 * that is less, but at least 10 ms) or as soon as one fails, at most three at a time, never two to
 * one address (RFC 8305, RFC 6455 section 4.1); the first that opens is used, and its family tried
 * first the next time. IPv4 waits 50 ms for the answer about IPv6.
 *
 * Other sources of the system (mDNS, LDAP, the machine's own name without an entry in hosts; what
 * macOS and Android keep outside of resolv.conf) are for options.resolver MTWS_RESOLVER_SYSTEM. Its
 * price: getaddrinfo blocks mtws_poll for as long as it takes, seconds where a name server is gone.
 *
 *
 * A MESSAGE'S LIFE
 *
 *     mtws_send -> queued -> written -> confirmed -> DELIVERED
 *                    ^          |
 *                    +----------+  the connection died first: sent again on the next, in order
 *
 * A server that answers a Ping has received all that was written before it: TCP keeps the order,
 * and RFC 6455 section 5.5.2 demands the Pong. So Pings follow the messages, and their Pongs
 * confirm them. What is not confirmed when a connection dies is sent again on the next, ahead of
 * what came later. Where heartbeats are off or in JSON, a Pong that does not come ends nothing: a
 * Ping asks again after heartbeat_timeout_ms, then after twice as long, up to 64 times.
 *
 * Honest words: DELIVERED says that the next WebSocket endpoint has the bytes. It does not say
 * that a program acted on them: a proxy that ends the WebSocket answers for itself, and a server
 * that parses ahead of its program can die with what it confirmed. Where that matters, let the
 * server's program acknowledge, set options.confirm to MTWS_CONFIRM_PROGRAM and call mtws_confirm:
 * only then is a message settled. And since a Pong can be lost, a message can arrive twice; give
 * it an identity that the server can recognise, or send it with MTWS_ONCE, which chooses the other
 * side: it never arrives twice, and is DROPPED with `written` set where nobody knows whether it
 * arrived. The promise is "confirmed, or sent again, or reported"; nobody can promise "exactly
 * once". First arrivals keep their order. What a network held back, of a connection that was given
 * up, can still arrive late: then an old copy comes behind newer messages.
 *
 * The queue lives in memory, and ids begin at 1 with each client. A program that must not lose a
 * message when it ends itself, or its machine, writes it down before the mtws_poll that follows
 * mtws_send, strikes it out when DELIVERED names it, and sends the rest when it starts again:
 * examples/outbox.c.
 *
 * After a connection that died with unconfirmed messages the first Ping follows the first message,
 * and twice as many may be under way with each answer, so that a slow server makes progress. A
 * message that is alone in flight at three closes in a row by the server (1003, 1007 to 1009, 1011)
 * is DROPPED. Until then nothing behind it moves: with the default delays for about two minutes;
 * about ten seconds where the code is 1011 and delays are still small. A server that ends the
 * connection in another way, with a code of its own (4000 to 4999) or none, gets the message again
 * and again, and what is behind it has to wait. Where the answer to a message is what makes this
 * client close, because it is over max_message_size, that does not count: the message is sent again
 * and again, so raise the limit, or set stream_messages.
 *
 *
 * WAYS OUT
 *
 * options.proxy leads through a proxy: http://[user:password@]host[:port] asks it with CONNECT (for
 * ws:// too, so that nothing on the way takes the upgrade apart), socks5:// with SOCKS5. The proxy
 * resolves the server's name, so socks5:// and socks5h:// are the same. It is told the
 * server's host and port and its own user and password, and no header or path of the server's; the
 * server learns nothing of it, and no log its password. Without a port it is 80, and 1080 for
 * SOCKS5; special characters in user and password are percent-encoded. mtws_proxy_from_environment
 * reads http_proxy and its like; nothing is read from the environment unasked.
 *     What a proxy refuses is MTWS_ERR_PROXY, with its HTTP status where it has one, and a reason.
 * A proxy that can't reach the server (502, 503, SOCKS5's failures) is asked again like a server;
 * one that refuses for other causes (407, 403) is final until a connection has opened once, then
 * asked again at max_reconnect_delay_ms. Each answer of it is bounded as a server's is, and what it
 * sends behind one before anything was said to the server is refused. connect_timeout_ms counts
 * over all. With a proxy, the route to the proxy decides whether the client is offline.
 *     wss:// goes through the proxy as it is. Where options.transport does the TLS, the proxy goes
 * below it, with mtws_net_transport and mtws_net_set_proxy.
 *
 * options.max_redirects lets an attempt follow so many answers of 301, 302, 303, 307 or 308 to
 * where their Location leads, http and https taken for ws and wss; without it they are errors.
 * Never from wss to ws, nor to a Location with userinfo in it. Where scheme, host or port are not
 * those of the program's URL, neither its userinfo goes along, nor headers that hold credentials
 * (those that logs mask: Authorization, Cookie, and names with auth, token, key, secret or
 * session), nor Host; nor do they come back on the way. What is in the Location goes as it stands,
 * so a server that copies a token of the query into it hands it on. It is all one attempt, with one
 * timeout; the next begins at the program's URL, after 301 and 308 too: what a captive portal said,
 * or a bad deploy, does not outlive it.
 *
 *
 * THREADS AND SIGNALS
 *
 * A client belongs to one thread at a time; different clients share nothing but an mtws_trust,
 * which is only read. Only mtws_wake may be called from any thread or signal handler. SIGPIPE is
 * never raised. After fork() one process alone may go on with a connection: two that use it destroy
 * its stream. A child that reconnects on its own draws other masking keys, since each attempt seeds
 * its generator anew.
 *
 *
 * TLS
 *
 * In a build with MTWS_BEARSSL wss:// is TLS 1.2, and of the server this is asked by default:
 *   - a chain of certificates that leads to one of the trusted roots, each signed by the next, each
 *     valid at this time (clock.unix_ms), with keys of RSA from 2048 bits or P-256, P-384, P-521,
 *     and signatures with SHA-256, -384 or -512;
 *   - the URL's host in subjectAltName (RFC 6125): a name, in which an asterisk may stand for one
 *     whole label, the first; or the address, where the host is one. The subject does not count;
 *   - extendedKeyUsage, where the certificate has it, for servers; no critical extension that
 *     BearSSL does not know (name constraints, extendedKeyUsage where it is critical);
 *   - ephemeral keys of X25519 or a P curve, and AES-GCM, ChaCha20-Poly1305, AES-CCM, or AES-CBC
 *     with SHA-2. No renegotiation, no compression, nothing older.
 * By option: pins (options.pin_sha256), a certificate of one's own where the server asks for one,
 * another name than the host's (server_name). options.insecure_skip_verify asks for pins at most.
 * Revocation (CRL, OCSP) and certificate transparency are not looked at.
 *
 * The roots come from options.trust, ca_file or ca_pem, or else from SSL_CERT_FILE or the system's
 * usual file. A program without a file system carries its own as text: ca_pem, or mtws_trust_create
 * for many clients. Where none are found, or a source that was named has none, wss:// is
 * MTWS_ERR_TLS_TRUST, and never less checked; insecure_skip_verify needs none. A program that runs
 * for years renews them with mtws_set_trust.
 *
 * A session is resumed by its id on the next connection, to the same name and port, for a day after
 * the full handshake at most; then certificates are looked at again. The server needs a cache of
 * sessions for it (nginx: ssl_session_cache shared:...), and both sides are spared the public keys.
 *
 * The stream's end without close_notify is a broken connection (MTWS_ERR_RESET, 1006).
 *
 * Each mtws_poll takes one record of the handshake further. BearSSL's operations with public keys
 * cannot be divided, so a poll lasts as long as the longest record's. Measured on an x86-64 server
 * processor: 0.9 ms with an RSA-2048 chain, 1.3 ms with P-256, 0.2 ms where a session is resumed;
 * where the client shows a certificate of its own 2.8 ms with RSA-2048, 22 ms with RSA-4096. Slower
 * processors take that much longer.
 *
 * A server that speaks TLS 1.3 alone is MTWS_ERR_TLS and says so. Another TLS library goes behind
 * options.transport: examples/openssl_transport.c is one, complete.
 *
 *
 * MEMORY
 *
 * mtws_create takes one block with MTWS_MALLOC; mtws_create_in uses yours, of any alignment,
 * static too:
 *
 *     static unsigned char memory[MTWS_MEMORY_SIZE(4096, 8192)];
 *     mtws_options o = {0};
 *     o.max_message_size = 4096;
 *     o.max_queue_size = 8192;
 *     mtws_create_in(&ws, &o, memory, sizeof memory);
 *
 * With the defaults that is 2.4 MiB of addresses; pages that are not used are not touched. A
 * connection is one descriptor, up to six while it is being opened, and watching the network
 * another (MTWS_NETWORK_MANUAL saves it, where there are many clients), options.wakeable a third.
 * getifaddrs, and getaddrinfo where options.resolver asks for it, allocate inside libc; nothing
 * else does.
 *
 *
 * WORK
 *
 * One call of mtws_poll with timeout 0 makes at most 1024 system calls (MTWS__CALLS_MAX), a few
 * where nothing happens. It reads at most max_message_size + 16 KiB of the connection, and writes
 * at most what is queued and 20 KiB of control frames. While a name is looked up it reads at most
 * 64 KiB of hosts, 64 KiB of resolv.conf, four datagrams of each of three name servers, and eight
 * pieces of an answer by TCP, which has at most MTWS_DNS_ANSWER_MAX bytes. Only a message's own
 * size makes it long. Files are read as files are: where /etc lies on a network, that is waited
 * for.
 *
 * With MTWS_BEARSSL a client has 46 KiB more for TLS (MTWS_TLS_MEMORY_SIZE), which a ws:// URL does
 * not touch, and three quarters of its PEM's size for roots of its own: 160 KiB of addresses with
 * Debian's bundle, of which 80 KiB are touched. 150 roots take 2 ms to decode. Many clients share
 * one mtws_trust.
 *
 *
 * LIMITS
 *
 *   - TLS is 1.2 alone, as BearSSL 0.6 speaks it; for a server of TLS 1.3 alone see TLS above.
 *     Revocation is not checked.
 *   - A proxy is spoken to without TLS, and knows Basic credentials, or SOCKS5's user and password,
 *     and no others (no NTLM, Negotiate or Digest). permessage-deflate is not offered.
 *   - POSIX systems: written for Linux and tested there; the calls of macOS and the BSDs are in the
 *     platform room, route sockets that watch the network among them, and have not been tried on
 *     such a machine.
 *   - Of a name at most eight addresses of each family are tried, in the order in which they come:
 *     /etc/gai.conf and RFC 6724 are not asked.
 *   - A message that is received in one piece is at most max_message_size; options.stream_messages
 *     receives any size in parts. A message that is sent is at most max_queue_size less its frames'
 *     headers (6 to 14 bytes each); mtws_send_part sends any size.
 *   - A text message is checked to be UTF-8 both ways.
 *
 *
 * THE LOG
 *
 * options.logger (or stderr, with options.debug) gets a word to search for and a sentence. Where
 * something can be done about it, the sentence says what.
 *
 *     ERROR    bad_option bad_url bad_header bad_proxy bad_tls_option no_tls no_trust
 *              attempts_used_up message_refused stubborn, and state into FAILED
 *     WARN     nothing_asks dropped dns_stale tls_insecure, and state into ERROR
 *     INFO     attempt redirect trust state
 *     DEBUG    transport_open tls_open close_sent close_received queue_full gap
 */

/* ==========================================================================
 * >>config
 * Define these before including the header, the same in all files.
 *
 *   MTWS_IMPLEMENTATION   the implementation is compiled into this file; in one file alone
 *   MTWS_BEARSSL          wss:// by BearSSL 0.6: needs bearssl.h where MTWS_IMPLEMENTATION is, and
 *                         -lbearssl (Debian: libbearssl-dev)
 *   MTWS_STATIC           functions are static: each file that includes the implementation has its
 *                         own, and others can only use the types
 *   MTWS_API              what stands before each public function; default: extern, or static as
 *                         above
 *   MTWS_REQUEST_MAX      8192: URL, params, headers and subprotocols together, in bytes
 *   MTWS_ANSWER_MAX       16384: the head of the answer to the upgrade, or of a proxy's, in bytes
 *   MTWS_PROXY_MAX        512: the URL of a proxy, in bytes, its terminator included
 *   MTWS_FIRST_MAX        4096: room for messages sent with MTWS_FIRST, in bytes
 *   MTWS_PART_MAX         16384: room for mtws_send_part, in bytes
 *   MTWS_HANDLERS_MAX     16: types that mtws_on_message takes
 *   MTWS_MESSAGE_ROOM     128: options.max_queue_size has an index entry per so many bytes, so that
 *                         many smaller messages fill the index before the bytes
 *   MTWS_DNS_CACHE        4: host names whose addresses are remembered
 *   MTWS_DNS_ANSWER_MAX   4096: a name server's answer that does not fit into a datagram, in bytes
 *
 * And these where MTWS_IMPLEMENTATION is:
 *
 *   MTWS_ASSERT(x)        programming errors end here; default: assert
 *   MTWS_MALLOC(size)     used by mtws_create alone; default: malloc
 *   MTWS_FREE(p)          used by mtws_destroy, and mtws_create where it fails; default: free.
 *                         Both or neither
 *   MTWS_SYS(name)        every system call, by name: MTWS_SYS(send)(...); default: name. For ports
 *                         to systems with other names, and for tests that make calls fail
 *   MTWS_DNS_TTL_MIN      5: what a name server said counts for at least so many seconds, so that
 *                         many attempts are not as many questions ...
 *   MTWS_DNS_TTL_MAX      3600: ... and for at most so many, whatever it said
 *   MTWS_DNS_STALE_MAX    259200: so many seconds longer where no name server can be asked
 */
#if defined(MTWS_IMPLEMENTATION) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE 1 /* strict C99 hides POSIX otherwise */
#endif

/* clang-format off */
/* ==========================================================================
 * >>api
 * Every function belongs to the thread that uses the client, mtws_wake alone excepted. Functions
 * that take a client take no NULL (mtws_destroy does), nor NULL for what they fill in, and may not
 * be called from a hook of that client: all are asserted or undefined. Text is UTF-8, ends with
 * NUL, and is copied unless said otherwise. Times are in milliseconds, sizes in bytes.
 */
#ifndef MTWS_H_INCLUDED
#define MTWS_H_INCLUDED

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MTWS_VERSION_MAJOR 0
#define MTWS_VERSION_MINOR 1
#define MTWS_VERSION_PATCH 0

#ifndef MTWS_API
#  if defined(MTWS_STATIC) && !defined(MTWS_IMPLEMENTATION)
#    define MTWS_API extern /* compilers warn of static functions that are never defined */
#    define MTWS__NOT_STATIC
#  elif defined(MTWS_STATIC) && defined(__GNUC__)
#    define MTWS_API static __attribute__((unused))
#  elif defined(MTWS_STATIC)
#    define MTWS_API static
#  else
#    define MTWS_API extern
#  endif
#endif

#ifndef MTWS_REQUEST_MAX
#  define MTWS_REQUEST_MAX 8192
#endif
#ifndef MTWS_ANSWER_MAX
#  define MTWS_ANSWER_MAX 16384
#endif
#ifndef MTWS_PROXY_MAX
#  define MTWS_PROXY_MAX 512
#endif
#ifndef MTWS_FIRST_MAX
#  define MTWS_FIRST_MAX 4096
#endif
#ifndef MTWS_PART_MAX
#  define MTWS_PART_MAX 16384
#endif
#ifndef MTWS_HANDLERS_MAX
#  define MTWS_HANDLERS_MAX 16
#endif
#ifndef MTWS_MESSAGE_ROOM
#  define MTWS_MESSAGE_ROOM 128
#endif
#ifndef MTWS_DNS_CACHE
#  define MTWS_DNS_CACHE 4
#endif
#ifndef MTWS_DNS_ANSWER_MAX
#  define MTWS_DNS_ANSWER_MAX 4096
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* In options, 0 always means the default. These two are taken where a field names them; any other
 * negative number is MTWS_ERR_ARGUMENT. */
#define MTWS_OFF       (-1)
#define MTWS_UNLIMITED (-2)
#define MTWS_WHOLE_MESSAGES SIZE_MAX /* for max_frame_size */

typedef struct mtws_client mtws_client; /* opaque: one connection's whole life */

/* Names by mtws_state_name: "disconnected" ... "failed". The manual draws how they follow. */
typedef enum mtws_state {
    MTWS_STATE_DISCONNECTED,        /* not connected, and not trying to be */
    MTWS_STATE_CONNECTING,          /* the first attempt after mtws_connect is under way */
    MTWS_STATE_CONNECTED,           /* open: messages flow */
    MTWS_STATE_RECONNECTING,        /* lost or refused: waiting for an attempt, or making it */
    MTWS_STATE_WAITING_FOR_NETWORK, /* offline: no attempts until the network is back */
    MTWS_STATE_ERROR,               /* passed through: the next event says what follows */
    MTWS_STATE_FAILED               /* given up: no retry left, or none that could mend it */
} mtws_state;

typedef enum mtws_result {
    MTWS_OK              =   0,
    MTWS_ERR_ARGUMENT    =  -1, /* a bad argument or option: nothing was changed */
    MTWS_ERR_STATE       =  -2, /* not allowed in this state */
    MTWS_ERR_MEMORY      =  -3, /* MTWS_MALLOC failed, or the memory given is too small */
    MTWS_ERR_QUEUE_FULL  =  -4, /* the message was not taken: wait for MTWS_EVENT_WRITABLE */
    MTWS_ERR_TOO_BIG     =  -5, /* larger than a limit: max_..._size, MTWS_..._MAX */
    MTWS_ERR_URL         =  -6, /* no ws:// or wss:// URL, or not in RFC 3986's characters */
    MTWS_ERR_ENTROPY     =  -7, /* the random source failed: there is no weak fallback */
    MTWS_ERR_RESOLVE     =  -8, /* the name could not be resolved */
    MTWS_ERR_CONNECT     =  -9, /* TCP refused, unreachable, out of descriptors */
    MTWS_ERR_PROXY       = -10, /* the proxy refused, with http_status where it is an HTTP proxy's
                                   answer, or did not speak as proxies do */
    MTWS_ERR_TLS         = -11, /* any TLS failure not named below; wss:// in a build without TLS */
    MTWS_ERR_TLS_TRUST   = -12, /* the chain leads to no trust anchor, or no pin matches */
    MTWS_ERR_TLS_NAME    = -13, /* the certificate is for another host */
    MTWS_ERR_TLS_TIME    = -14, /* expired, not yet valid, or this machine's clock is wrong */
    MTWS_ERR_HANDSHAKE   = -15, /* the answer to the upgrade was not RFC 6455's */
    MTWS_ERR_HTTP_STATUS = -16, /* the server answered with another status: event.http_status */
    MTWS_ERR_PROTOCOL    = -17, /* the server broke RFC 6455: closed with 1002 */
    MTWS_ERR_UTF8        = -18, /* invalid UTF-8, the server's (1007) or in what was to be sent */
    MTWS_ERR_TIMEOUT     = -19, /* a phase of the connection took longer than its limit */
    MTWS_ERR_HEARTBEAT   = -20, /* no answer to a heartbeat in time: the connection is dead */
    MTWS_ERR_CLOSED      = -21, /* the server closed: close_code and reason of the STATE event */
    MTWS_ERR_RESET       = -22, /* the connection broke without a Close frame */
    MTWS_ERR_OFFLINE     = -23, /* the network is down */
    MTWS_ERR_EXPIRED     = -24, /* the message outlived options.queue_ttl_ms */
    MTWS_ERR_CLEARED     = -25, /* dropped by mtws_clear_queue */
    MTWS_ERR_IDLE        = -26, /* from mtws_poll: nothing is left, nothing will happen */
    MTWS_ERR_DISCONNECTED = -27 /* dropped because mtws_disconnect ended its connection */
} mtws_result;

typedef enum mtws_kind { MTWS_TEXT = 1, MTWS_BINARY = 2 } mtws_kind; /* RFC 6455 opcodes */

/* Each line names the fields that its events fill beside type and state. */
typedef enum mtws_event_type {
    MTWS_EVENT_NONE,
    MTWS_EVENT_STATE,     /* previous, result, reason, close_code, http_status, attempt, retry_ms */
    MTWS_EVENT_MESSAGE,   /* kind, data, size, first, last */
    MTWS_EVENT_DELIVERED, /* first_id, id: the server has these messages */
    MTWS_EVENT_DROPPED,   /* first_id, id, result, written: not sent (again), and why */
    MTWS_EVENT_WRITABLE   /* what MTWS_ERR_QUEUE_FULL refused last would fit now; once */
} mtws_event_type;

/* Flat, so that it binds to any language. A field is 0 where its type's line does not name it;
 * pointers are never NULL. data and reason are valid until the next mtws_poll or mtws_destroy of
 * this client. */
typedef struct mtws_event {
    mtws_event_type type;
    mtws_state state;      /* in every event: the client's, as of this event */
    mtws_state previous;   /* STATE: the one before */
    mtws_result result;    /* of a failure: the same in each STATE event that it causes */
    const char *reason;    /* for people; what the server said has its control characters replaced,
                              and credentials masked */
    uint16_t close_code;   /* RFC 6455 section 7.4: the server's; 1005 none given, 1006 no Close
                              frame; ours where result is PROTOCOL, UTF8 or TOO_BIG */
    uint16_t http_status;  /* of an answer that refused the upgrade or was wrong (101 too), or of a
                              proxy's refusal */
    int32_t attempt;       /* attempts since the last stable connection, opened ones too; not the
                              count that max_reconnect_attempts limits */
    int32_t retry_ms;      /* RECONNECTING: time to the next attempt */
    mtws_kind kind;
    const uint8_t *data;   /* of a whole message, data[size] is 0 */
    size_t size;
    bool first, last;      /* both true but for parts, when options.stream_messages; a STATE event
                              after parts without last: that message was cut off */
    bool written;          /* DROPPED: it had left whole, so the server may have it */
    uint64_t first_id, id; /* all the messages from the one to the other; no other event names any
                              of them. Ids ascend from event to event among messages that are queued
                              alike: MTWS_FIRST, and parts, are settled on their own */
} mtws_event;

typedef enum mtws_heartbeat {
    MTWS_HEARTBEAT_PING = 0, /* RFC 6455 Ping; the Pong must echo it */
    MTWS_HEARTBEAT_JSON = 1  /* the text message {"type":"heartbeat","timestamp":T}, answered by
                                {"type":"heartbeat_response","timestamp":U,"originalTimestamp":T}.
                                Both ways: the server's heartbeats are answered, and neither they
                                nor the answers are handed over. T and U: milliseconds since 1970;
                                without such a number a message is one like any other.
                                Messages are confirmed by Pongs all the same: for a server that
                                answers no Pings, set options.confirm to NONE or PROGRAM as well */
} mtws_heartbeat;

typedef enum mtws_network {
    MTWS_NETWORK_AUTO = 0,  /* watch the system's links, addresses and routes: one descriptor a
                               client, on Linux, and untried on the BSDs and macOS; elsewhere the
                               network is taken to be there */
    MTWS_NETWORK_MANUAL = 1 /* only mtws_set_network says; online until it does */
} mtws_network;

/* Who resolves host names: see NAMES. */
typedef enum mtws_resolver {
    MTWS_RESOLVER_OWN = 0,   /* the header: /etc/hosts, then name servers; never blocks */
    MTWS_RESOLVER_SYSTEM = 1 /* getaddrinfo, with all that the system can resolve; blocks mtws_poll
                                for as long as it takes: seconds, where a name server is gone */
} mtws_resolver;

/* What settles a message: see A MESSAGE'S LIFE. */
typedef enum mtws_confirm_by {
    MTWS_CONFIRM_PONG = 0,    /* a Pong to a Ping that followed: the server's endpoint has it */
    MTWS_CONFIRM_PROGRAM = 1, /* mtws_confirm alone: the server's program has said that it has it */
    MTWS_CONFIRM_NONE = 2     /* being wholly written: DELIVERED then says no more than that */
} mtws_confirm_by;

typedef struct mtws_pair { const char *name, *value; } mtws_pair; /* lists end with {NULL, NULL} */

/* Hooks: all functions of one or none; ctx is the user's. They may not call back into the client
 * that calls them; this is asserted. */
typedef enum mtws_level {
    MTWS_LOG_ERROR = 1,
    MTWS_LOG_WARN,
    MTWS_LOG_INFO,
    MTWS_LOG_DEBUG
} mtws_level;

/* Texts hold no credentials: the URL's userinfo, the values of its query and of headers such as
 * Authorization and Cookie, and a proxy's user and password are masked where they would appear.
 * item is a constant word to search for. */
typedef struct mtws_logger {
    void (*log)(void *ctx, mtws_level level, const char *item, const char *text);
    void *ctx;
    mtws_level level; /* texts above it are not even formatted; 0: INFO */
} mtws_logger;

/* With a clock of the user's own, mtws_poll is to be called with timeout 0: waits are in real
 * time. */
typedef struct mtws_clock {
    uint64_t (*now_us)(void *ctx);  /* monotonic, counts sleep where the system can tell */
    uint64_t (*unix_ms)(void *ctx); /* wall clock: for certificates, and dates in Retry-After */
    void *ctx;
} mtws_clock;

/* The source of randomness, asked for 32 bytes at each attempt, and for 32 more where it is for
 * wss://. It must be as good as the system's: masking keys (RFC 6455 section 10.3) and the keys of
 * TLS come of it, and of nothing else. False: MTWS_ERR_ENTROPY. */
typedef struct mtws_random {
    bool (*fill)(void *ctx, void *out, size_t size);
    void *ctx;
} mtws_random;

/* What an external event loop must wait for, level-triggered. To be asked again after every call
 * that is not const. A descriptor that has left the list stays open until the next mtws_poll, so
 * that it can be unregistered before. */
#define MTWS_WAIT_MAX 8
typedef struct mtws_wait_fd {
    int fd;
    uint32_t serial; /* changes when a number is used again for another socket */
    bool want_read, want_write; /* both false: not to be waited on now (poll would report HUP) */
} mtws_wait_fd;
typedef struct mtws_wait {
    mtws_wait_fd fds[MTWS_WAIT_MAX];
    int          count;
    int32_t      timeout_ms; /* from now, rounded up; -1: none; 0: call mtws_poll now */
} mtws_wait;

/* A byte stream of the user's own in place of DNS, TCP and TLS: another TLS library, a pipe, a
 * simulator. No function blocks. read and write return bytes > 0, or one of MTWS_IO_*, or an
 * mtws_result below 0 that becomes the event's. */
enum { MTWS_IO_AGAIN = -1001, MTWS_IO_EOF = -1002, MTWS_IO_ERROR = -1003 };
typedef struct mtws_transport {
    /* 0: open. AGAIN: under way, called again with the same arguments. Else an error. */
    int       (*open) (void *ctx, const char *host, uint16_t port, bool tls);
    ptrdiff_t (*read) (void *ctx, void *out, size_t capacity); /* only AGAIN means empty */
    /* After AGAIN the next call begins with the same bytes, and is no shorter. */
    ptrdiff_t (*write)(void *ctx, const void *data, size_t size);
    /* *out comes empty, timeout_ms -1; set it to 0 where bytes are held inside and want_read, or to
     * when open, read or write want to be called although no descriptor says so. Where
     * options.wakeable is set, leave one of the list's places to mtws_wake. */
    void      (*wait) (void *ctx, bool want_read, bool want_write, mtws_wait *out);
    void      (*close)(void *ctx); /* once per opening, after a failed one too */
    void       *ctx;
} mtws_transport;

/* Roots that certificates of servers lead to: see mtws_trust_create. */
typedef struct mtws_trust mtws_trust;

/* Zeroed options are the defaults; mtws_get_options gives them resolved. */
typedef struct mtws_options {
    /* staying connected */
    int32_t max_reconnect_attempts;     /* 10 in a row, after the first attempt, that did not open;
                                           none counted while offline; MTWS_OFF: never reconnect;
                                           MTWS_UNLIMITED: for a program that runs for years */
    int32_t initial_reconnect_delay_ms; /* 1000: the first delay is half of it to three times; above
                                           max_reconnect_delay_ms it means that */
    int32_t max_reconnect_delay_ms;     /* 30000: no delay is longer; below 250 it means 250 */
    double reconnect_backoff_factor;    /* 1.5: from 1 to 1000 */
    int32_t stable_ms;                  /* 30000: connected this long, delays start small again */
    mtws_network network;
    bool wakeable;                      /* make mtws_wake work; costs one descriptor */

    /* names: see NAMES; without options.transport */
    mtws_resolver resolver;
    const char *dns_servers;            /* "9.9.9.9, [2620:fe::fe]:53": at most three, asked instead
                                           of those in /etc/resolv.conf; NULL, as mtws_get_options
                                           gives it: those */
    int32_t dns_timeout_ms;             /* for one server to answer before the next one is asked;
                                           0: what /etc/resolv.conf says, or else 2000 */

    /* noticing that it is not */
    mtws_heartbeat heartbeat;
    int32_t heartbeat_interval_ms;      /* 30000: between Pings; MTWS_OFF: a dead link is noticed
                                           when TCP notices it, minutes later or never */
    int32_t heartbeat_timeout_ms;       /* 5000: for the Pong, to a Ping that asks about messages
                                           too; up to four times that while bytes come in, or leave
                                           that were written before it */
    int32_t connect_timeout_ms;         /* 20000: name, TCP, proxy, TLS, redirects and upgrade */
    int32_t close_timeout_ms;           /* 5000: for all that mtws_disconnect does, and for the
                                           server to end TCP after its Close */

    /* limits */
    size_t max_message_size;            /* 1 MiB: received in one piece */
    size_t max_queue_size;              /* 1 MiB: messages not yet delivered, as they lie on the
                                           wire, and not more of them than one per MTWS_MESSAGE_ROOM
                                           bytes and 16 (8208); throughput is at most this per round
                                           trip; at least 7, a message of one byte */
    bool stream_messages;               /* receive in parts as they come, of any size; a part may
                                           end within a character */
    size_t max_frame_size;              /* 64 KiB: longer messages leave in fragments, so that
                                           control frames never wait long; MTWS_WHOLE_MESSAGES */

    /* delivery */
    mtws_confirm_by confirm;
    int32_t confirm_delay_ms;           /* 100: until a Ping asks about what was written; MTWS_OFF:
                                           only heartbeats and mtws_disconnect ask (for servers
                                           that count frames) */
    bool drop_oldest;                   /* a full queue drops its oldest unsent messages (DROPPED,
                                           MTWS_ERR_QUEUE_FULL) rather than refuse a new one. Where
                                           what has been sent already fills it, it refuses */
    bool at_most_once;                  /* MTWS_ONCE for every message */
    int32_t queue_ttl_ms;               /* MTWS_OFF: a message not on the wire this long after
                                           mtws_send is DROPPED, MTWS_ERR_EXPIRED: none begins to
                                           leave later, nor again. MTWS_FIRST goes with its
                                           connection. What the network then does to it has no
                                           limit: where its age counts, write the time into it */
    bool hold_queue;                    /* after each connect wait for mtws_release_queue */

    /* the upgrade request; copied by mtws_create */
    const char *subprotocols;           /* "chat, superchat"; NULL: none */
    const mtws_pair *headers;           /* Authorization, Cookie, Origin, User-Agent, Host, ...;
                                           NULL: none. mtws_get_options always gives NULL here */

    /* ways out; copied by mtws_create */
    const char *proxy;                  /* "http://user:password@host:port" (CONNECT) or the same
                                           with socks5://; NULL or "": none. See WAYS OUT */
    int32_t max_redirects;              /* MTWS_OFF: an answer that leads elsewhere is an error; up
                                           to 5 (more count as 5) are followed in an attempt */

    /* wss://, in builds with MTWS_BEARSSL. In one without, and beside options.transport, which has
     * TLS of its own or none, each of these is an error. Texts are copied by mtws_create;
     * mtws_get_options gives NULL */
    const mtws_trust *trust;            /* anchors that clients may share, and that must stay; NULL:
                                           this client has its own, of the next two, which do not
                                           go with it */
    const char *ca_file;                /* a file of PEM, read by mtws_create; "": none. To its
                                           roots those of ca_pem are added */
    const char *ca_pem;                 /* PEM in memory. Both NULL: the file SSL_CERT_FILE names in
                                           the environment, or the system's, read at the first
                                           wss:// URL */
    const char *client_cert_pem;        /* shown where the server asks: the certificate, then what
                                           leads to its root; RSA, P-256, P-384 or P-521 */
    const char *client_key_pem;         /* its key: PKCS #8, PKCS #1 or SEC 1, not encrypted */
    const char *pin_sha256;             /* "PIN, PIN", up to 8: one must be that of a key in the
                                           verified chain, the anchor's apart. A pin is 44
                                           characters, base64 of SHA-256 of SubjectPublicKeyInfo
                                           (RFC 7469 section 2.4) */
    const char *server_name;            /* the name or address to ask for, and to find in the
                                           certificate; NULL: the URL's host */
    bool insecure_skip_verify;          /* trust anybody on the way. Pins alone are checked, against
                                           the server's own key; each connection warns in the log */

    /* hooks; a zeroed one is the system's own */
    bool debug;                         /* where logger is not set: log to stderr at DEBUG */
    mtws_logger logger;
    mtws_clock clock;
    mtws_random random;
    mtws_transport transport;
    void *user_data;                    /* for mtws_get_user_data */
} mtws_options;

/* ---- life ----------------------------------------------------------------------------------- */

/* Bytes of the one block that these options need, any alignment of it included. NULL: the defaults.
 * 0: a number is out of its range, and the log names it; texts are judged by mtws_create. */
MTWS_API size_t       mtws_memory_required(const mtws_options *options_or_null);

/* Makes a client in a block from MTWS_MALLOC. *out is NULL on failure:
 * MTWS_ERR_ARGUMENT an option, header or subprotocol is bad; MTWS_ERR_MEMORY; MTWS_ERR_TOO_BIG
 * headers and subprotocols exceed MTWS_REQUEST_MAX, or the proxy's URL MTWS_PROXY_MAX; MTWS_ERR_URL
 * that URL is bad; MTWS_ERR_CONNECT no descriptor for options.wakeable; MTWS_ERR_TLS options for
 * wss:// in a build without it; MTWS_ERR_TLS_TRUST options.ca_file (but "") or ca_pem has no anchor
 * that can be used. The log (options.debug, options.logger) names the option, and what it takes. */
MTWS_API mtws_result  mtws_create    (mtws_client **out, const mtws_options *options_or_null);

/* The same in the caller's memory, of any alignment, which must stay until mtws_destroy.
 * MTWS_ERR_MEMORY: size is below mtws_memory_required. */
MTWS_API mtws_result  mtws_create_in (mtws_client **out, const mtws_options *options_or_null,
                                      void *memory, size_t size);

/* An integer constant, at least mtws_memory_required for these two limits (both above 0) in a build
 * without MTWS_BEARSSL. With it add MTWS_TLS_MEMORY_SIZE where options.trust is set, or
 * options.ca_file is "", and for each of options.ca_pem, client_cert_pem and client_key_pem
 * MTWS_PEM_MEMORY_SIZE(sizeof text). What a file takes mtws_memory_required alone can say. */
#define MTWS_MEMORY_SIZE(max_message_size, max_queue_size) \
    (MTWS__FIXED_SIZE + (max_message_size) + MTWS__QUEUE_SIZE(max_queue_size) + \
     MTWS__QUEUE_SIZE(MTWS_FIRST_MAX) + MTWS__QUEUE_SIZE(MTWS_PART_MAX))

/* What MTWS_MEMORY_SIZE is made of; the implementation checks that it is enough. */
#define MTWS__ENTRY_SIZE 40
#define MTWS__ENTRIES_MIN 16
#define MTWS__TYPE_MAX 47
#define MTWS__NET_SIZE (MTWS_DNS_CACHE * 584 + MTWS_DNS_ANSWER_MAX + 4608)
#define MTWS__CLIENT_SIZE \
    (2 * MTWS_REQUEST_MAX + MTWS_ANSWER_MAX + 2 * MTWS_PROXY_MAX + \
     MTWS_HANDLERS_MAX * (MTWS__TYPE_MAX + 17) + MTWS__NET_SIZE + 10240)
#define MTWS__FIXED_SIZE (MTWS__CLIENT_SIZE + 16384 + 256)
#define MTWS__QUEUE_SIZE(size) \
    ((size) + ((size) / MTWS_MESSAGE_ROOM + MTWS__ENTRIES_MIN) * MTWS__ENTRY_SIZE)

#define MTWS_TLS_MEMORY_SIZE (48 * 1024)
#define MTWS_PEM_MEMORY_SIZE(pem_size) ((pem_size) / 4 * 3 + 192)

/* Ends everything at once, in any state, from a handler of events too: no Close, no events; what is
 * queued is gone. NULL is fine. For a graceful end see mtws_disconnect. */
MTWS_API void         mtws_destroy   (mtws_client *ws);

/* Asks for a connection; the next mtws_poll begins. url is
 * ws://[user:password@]host[:port][/path][?query] (RFC 6455 section 3; an IPv6 address stands in
 * brackets, without a zone; userinfo becomes Basic authorization); params join its query
 * percent-encoded:
 *     mtws_pair params[] = {{"sessionId", id}, {"token", token}, {NULL, NULL}};
 * Both are copied. From DISCONNECTED or FAILED, else MTWS_ERR_STATE; before the next mtws_poll a
 * second call replaces the first. MTWS_ERR_URL; MTWS_ERR_TLS wss:// in a build without it, or with
 * both options.transport and a proxy (the proxy goes below TLS: mtws_net_set_proxy);
 * MTWS_ERR_TLS_TRUST wss://, and no roots are found; MTWS_ERR_MEMORY the system's file of them has
 * grown since mtws_create; MTWS_ERR_ARGUMENT a param without name or value; MTWS_ERR_TOO_BIG over
 * MTWS_REQUEST_MAX. What is still queued goes to this server: call mtws_clear_queue first where
 * that is not meant. */
MTWS_API mtws_result  mtws_connect   (mtws_client *ws, const char *url,
                                      const mtws_pair *params_or_null);

/* Graceful, and final until mtws_connect. Where connected, what is queued (of a held queue only
 * what was sent with MTWS_FIRST) leaves and is confirmed first; then a Close frame with code (0:
 * 1000) and reason (at most 123 bytes) goes out, and the server's is awaited; all within
 * close_timeout_ms, and a second more where messages keep coming. Meanwhile the state stays
 * CONNECTED, messages are still handed over, and mtws_send is MTWS_ERR_STATE. Then STATE tells
 * DISCONNECTED: result MTWS_OK and the server's close_code, or MTWS_ERR_TIMEOUT and the like. What
 * was not confirmed stays queued; what belonged to this connection alone is DROPPED with
 * MTWS_ERR_DISCONNECTED. While paused with messages that wait it takes all of close_timeout_ms, and
 * those are lost. A second call, or one while no connection is open, ends it at once: to have
 * everything delivered first, whatever it takes, call it when mtws_get_stats says that
 * queued_messages is 0.
 * MTWS_ERR_ARGUMENT: a code that may not be sent (RFC 6455 section 7.4), or too long a reason;
 * MTWS_ERR_UTF8: the reason is not UTF-8. */
MTWS_API mtws_result  mtws_disconnect(mtws_client *ws, uint16_t close_code,
                                      const char *reason_or_null);

/* Ends the wait of RECONNECTING or WAITING_FOR_NETWORK, or FAILED, where the count of attempts
 * begins anew. MTWS_OK without effect while an attempt is under way. MTWS_ERR_STATE in other
 * states. */
MTWS_API mtws_result  mtws_retry_now (mtws_client *ws);

/* From the next attempt on: another URL, or a fresh token in its params; best when RECONNECTING or
 * FAILED is heard. Errors as mtws_connect's. */
MTWS_API mtws_result  mtws_set_url   (mtws_client *ws, const char *url,
                                      const mtws_pair *params_or_null);

/* From the next attempt on: sets the header, in place of all of that name; value NULL removes it.
 * MTWS_ERR_ARGUMENT: name is no token (RFC 9110), belongs to the handshake (Upgrade, Connection,
 * Content-Length, Transfer-Encoding, Sec-WebSocket-*), or value has control characters;
 * MTWS_ERR_TOO_BIG over MTWS_REQUEST_MAX. */
MTWS_API mtws_result  mtws_set_header(mtws_client *ws, const char *name, const char *value_or_null);

/* From the next attempt on: another proxy, or none (NULL or ""), as options.proxy. For machines
 * that move between networks, best when RECONNECTING is heard. MTWS_ERR_URL; MTWS_ERR_TOO_BIG over
 * MTWS_PROXY_MAX. */
MTWS_API mtws_result  mtws_set_proxy (mtws_client *ws, const char *proxy_or_null);

/* Writes the proxy that the environment names for a ws or wss URL, "" for none, fit for
 * options.proxy and mtws_net_set_proxy. The usual variables in the usual order: for wss
 * https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY; for ws http_proxy (in lower case alone: a CGI
 * program's clients choose its HTTP_PROXY), all_proxy, ALL_PROXY; empty ones don't count. A value
 * without a scheme is taken for http://. There is none where no_proxy, or else NO_PROXY, lists the
 * target: words parted by commas or spaces, each "*" for all, a name for itself and for what ends
 * with it behind a dot, an IP address, or a network as "10.0.0.0/8"; names and addresses may end
 * with ":port" (IPv6 ones then in brackets). Names are not resolved for it.
 * MTWS_ERR_URL: url is no ws or wss URL. MTWS_ERR_PROXY: the variable is no URL of a proxy that
 * this header can use. MTWS_ERR_TOO_BIG: out has no room, or MTWS_PROXY_MAX. It calls getenv, which
 * no thread may do while another changes the environment. */
MTWS_API mtws_result  mtws_proxy_from_environment(const char *url, char *out, size_t size);

/* ---- whom wss:// trusts --------------------------------------------------------------------- */

/* Decodes anchors once, for any number of clients: the roots in a file of PEM and in PEM in memory;
 * with both NULL the system's (see options.ca_file). A program decodes them for itself here rather
 * than in each client where it has many, and keeps them up to date:
 *     mtws_trust *trust;
 *     if (mtws_trust_create(&trust, NULL, NULL) != MTWS_OK) ...
 *     options.trust = trust;
 * *out is NULL on failure. MTWS_ERR_TLS_TRUST: no file, or no certificate in it that can be used;
 * MTWS_ERR_MEMORY; MTWS_ERR_TLS: a build without MTWS_BEARSSL. Certificates that cannot be used are
 * passed over. Once made it is only read, so threads may share it. A certificate that is no CA's is
 * trusted for itself alone. */
MTWS_API mtws_result  mtws_trust_create   (mtws_trust **out, const char *ca_file_or_null,
                                           const char *ca_pem_or_null);
/* The same in the caller's memory, of any alignment, which must stay. MTWS_ERR_MEMORY: size is too
 * small; mtws_trust_memory_required is enough, and MTWS_PEM_MEMORY_SIZE(sizeof pem) for PEM in
 * memory alone. */
MTWS_API mtws_result  mtws_trust_create_in(mtws_trust **out, const char *ca_file_or_null,
                                           const char *ca_pem_or_null, void *memory, size_t size);
/* Bytes that it needs at most, by the sizes of file and text, neither of which is read. */
MTWS_API size_t       mtws_trust_memory_required(const char *ca_file_or_null,
                                                 const char *ca_pem_or_null);
/* Anchors in it; it is not NULL. */
MTWS_API size_t       mtws_trust_count    (const mtws_trust *trust);
/* When no client has it any more. NULL is fine. */
MTWS_API void         mtws_trust_destroy  (mtws_trust *trust);
/* Other anchors from now on, instead of those that the client has. An open connection stays, but
 * its TLS session is not resumed. What was given before is not used any more when this returns.
 * MTWS_ERR_ARGUMENT: NULL; MTWS_ERR_TLS: a build without MTWS_BEARSSL, or options.transport. */
MTWS_API mtws_result  mtws_set_trust      (mtws_client *ws, const mtws_trust *trust);

/* ---- the pump ------------------------------------------------------------------------------- */

/* Does the work that is due and hands over the next event.
 * 1: *event is it. 0: timeout_ms passed, or mtws_wake was called, or a signal handler ran.
 * MTWS_ERR_IDLE, at once: disconnected or failed, and every event was handed over; queue_ttl_ms
 * alone can bring about others later.
 * *event is always set, MTWS_EVENT_NONE unless 1. timeout_ms -1: as long as it takes; 0: never
 * wait. Not calling it is back-pressure: nothing is read meanwhile, and nothing is answered, so
 * call it more often than the server's patience, and heartbeat_timeout_ms, ask for. */
MTWS_API int          mtws_poll      (mtws_client *ws, mtws_event *event, int32_t timeout_ms);

/* For an event loop of the program's: wait for out->fds, at most out->timeout_ms, then call
 * mtws_poll(ws, &event, 0) until it does not return 1; ask again after each mtws_poll, and take out
 * of the loop what is not in the list any more. */
MTWS_API void         mtws_get_wait  (const mtws_client *ws, mtws_wait *out);

/* Makes mtws_poll return 0, now or the next time it waits. From any thread or signal handler, keeps
 * errno. Wake-ups may merge, none is lost. MTWS_ERR_STATE unless options.wakeable. */
MTWS_API mtws_result  mtws_wake      (mtws_client *ws);

/* Hand over no messages. Reading goes on until the receive buffer is full. What the server sent
 * behind a message that waits, Pongs too, is not seen before it is handed over: meanwhile
 * heartbeats are not judged, nothing more is confirmed, and a connection that broke is not told. */
MTWS_API mtws_result  mtws_set_paused(mtws_client *ws, bool paused);

/* ---- sending ------------------------------------------------------------------------------- */
enum {
    /* Never sent twice: where it had left whole and was not confirmed, it is DROPPED. */
    MTWS_ONCE = 1,
    /* On the present connection, in its place in the queue, or DROPPED; MTWS_ERR_STATE unless
     * CONNECTED. */
    MTWS_NO_QUEUE = 2,
    /* As MTWS_NO_QUEUE, but ahead of all that is queued, and let through while the queue is held;
     * in order among themselves: a login or a subscription, sent when the event says CONNECTED.
     * Has room of its own, MTWS_FIRST_MAX. */
    MTWS_FIRST = 4
};

/* Takes a copy, in any state but while disconnecting; no I/O: bytes leave in the next mtws_poll.
 * All or nothing. *id: ids follow the calls from 1 and never restart; each ends in one DELIVERED
 * or DROPPED.
 * MTWS_ERR_QUEUE_FULL: wait for WRITABLE. MTWS_ERR_TOO_BIG: would never fit (max_queue_size).
 * MTWS_ERR_UTF8: text that is none. MTWS_ERR_ARGUMENT: an unknown kind or flag. MTWS_ERR_STATE:
 * disconnecting, or the flags ask for a connection that is not there. */
MTWS_API mtws_result  mtws_send      (mtws_client *ws, mtws_kind kind, const void *data,
                                      size_t size, unsigned flags, uint64_t *id_or_null);

/* mtws_send of a text with the defaults. */
MTWS_API mtws_result  mtws_send_text (mtws_client *ws, const char *text);

/* A message of any size, part by part, on the present connection only; while the queue is held it
 * waits. The message begins with first (which sets its kind) and ends with last; until then
 * messages sent later wait. One id for the whole, given with every part. Parts have room of their
 * own, MTWS_PART_MAX, so a full queue can't stop the last.
 * MTWS_ERR_QUEUE_FULL: wait for WRITABLE. MTWS_ERR_TOO_BIG: with the headers of its frames (6 to 14
 * bytes for each max_frame_size) the part is over MTWS_PART_MAX.
 * MTWS_ERR_RESET: there is no message to go on with: none was begun, or its connection is gone, and
 * it is DROPPED.
 * MTWS_ERR_UTF8: text that is none; a part may end within a character, the last may not.
 * MTWS_ERR_ARGUMENT: an unknown kind, with whichever part; first while another message is not
 * ended. MTWS_ERR_STATE: first while there is no connection for it, as with MTWS_NO_QUEUE, or while
 * disconnecting.
 * A message that was begun can't be taken back (RFC 6455 knows no way), and what is sent later
 * waits for its end. A text that breaks off within a character is ended by what completes that;
 * where there is no sensible end, end the connection: mtws_disconnect twice, then mtws_connect. */
MTWS_API mtws_result  mtws_send_part (mtws_client *ws, mtws_kind kind, const void *data,
                                      size_t size, bool first, bool last, uint64_t *id_or_null);

/* options.hold_queue: lets the queue flow, on this connection. MTWS_ERR_STATE unless CONNECTED. */
MTWS_API mtws_result  mtws_release_queue(mtws_client *ws);

/* Drops (MTWS_ERR_CLEARED) what has not begun to leave; while no connection is open, everything
 * that is not settled. A message sent in parts is left alone. */
MTWS_API mtws_result  mtws_clear_queue  (mtws_client *ws);

/* options.confirm PROGRAM (else MTWS_ERR_STATE): the server's program has every message up to id
 * that has left. Ids are in the order of the calls, which is the order on the wire but for what is
 * sent with MTWS_FIRST: that is ahead of lower ids, and best confirmed while hold_queue holds those
 * back. Refused messages take no id. MTWS_ERR_ARGUMENT: an id that was never given. */
MTWS_API mtws_result  mtws_confirm      (mtws_client *ws, uint64_t id);

/* ---- handlers: an optional layer over events ------------------------------------------------ */

typedef void mtws_message_handler(mtws_client *ws, const mtws_event *message, void *user);
typedef void mtws_state_handler  (mtws_client *ws, const mtws_event *change,  void *user);

/* Whole text messages that are a JSON object, nested 128 deep at most, whose member "type"
 * (top-level; where it is there twice, the last) is the string type, compared decoded. NULL: all
 * other messages, binary ones and parts too. type is
 * copied, at most 47 bytes; the last registration wins; a NULL handler removes it.
 * MTWS_ERR_TOO_BIG: a longer type, or more than MTWS_HANDLERS_MAX. */
MTWS_API mtws_result  mtws_on_message(mtws_client *ws, const char *type_or_null,
                                      mtws_message_handler *handler, void *user);
/* Every STATE event; NULL removes it. */
MTWS_API mtws_result  mtws_on_state  (mtws_client *ws, mtws_state_handler *handler, void *user);
/* Calls the handler that is registered for the event; true: there was one. A handler may call
 * anything, mtws_destroy too: then the client is gone when this returns, and the loop must not call
 * mtws_poll again: let the handler set a flag. Where none destroys, this is the loop:
 *     while (mtws_poll(ws, &e, -1) >= 0) mtws_dispatch(ws, &e); */
MTWS_API bool         mtws_dispatch  (mtws_client *ws, const mtws_event *event);

/* ---- the network ---------------------------------------------------------------------------- */

/* options.network MANUAL: says whether there is one. Offline, a connection that fails leads to
 * WAITING_FOR_NETWORK, and no attempts are made before this says online: then one at once. While
 * connected either asks for a heartbeat now; nothing is closed. With AUTO it makes the client look
 * at the system again. */
MTWS_API mtws_result  mtws_set_network(mtws_client *ws, bool online);

/* ---- the header's own network, for a transport of yours -----------------------------------------
 * A TLS library needs a byte stream under it. This is the one that the client itself uses:
 *     static unsigned char memory[MTWS_NET_MEMORY_SIZE];
 *     mtws_transport net;
 *     mtws_net_transport(&net, memory, sizeof memory);
 * and your open() calls net.open(net.ctx, host, port, false) until it is not MTWS_IO_AGAIN, then
 * shakes hands over net.read and net.write; your wait() asks net.wait, your close() net.close. It
 * belongs to one client; used as options.transport as it is, it serves ws:// alone. Through the
 * proxy that the environment names:
 *     char proxy[MTWS_PROXY_MAX];
 *     if (mtws_proxy_from_environment(url, proxy, sizeof proxy) == MTWS_OK)
 *         mtws_net_set_proxy(&net, proxy); */

/* Makes it in the caller's memory, of any alignment, which must stay until mtws_net_destroy. Time
 * and randomness, where it needs any, are the system's. It does not know how long the client waits
 * for a connection, so it tries addresses 250 ms apart, whatever connect_timeout_ms is (see NAMES).
 * MTWS_ERR_MEMORY: size is below MTWS_NET_MEMORY_SIZE; MTWS_ERR_ARGUMENT: a NULL. */
MTWS_API mtws_result  mtws_net_transport(mtws_transport *out, void *memory, size_t size);

/* From the next opening on: through this proxy, as options.proxy; NULL or "": none. MTWS_ERR_STATE
 * while it is open or opening; MTWS_ERR_URL; MTWS_ERR_TOO_BIG over MTWS_PROXY_MAX;
 * MTWS_ERR_ARGUMENT: not what mtws_net_transport made. */
MTWS_API mtws_result  mtws_net_set_proxy(mtws_transport *net, const char *proxy_or_null);

/* Why the last call of it failed, for people: "connection refused"; "" where none did. Valid until
 * the next call of it. Only for what mtws_net_transport made. */
MTWS_API const char  *mtws_net_reason(const mtws_transport *net);

/* After mtws_destroy of the client: closes what is still open. A connection's descriptor outlives
 * the transport's close() until the next open() or this, so that an event loop can forget it. A
 * zeroed one is fine. */
MTWS_API void         mtws_net_destroy(mtws_transport *net);

/* Bytes for mtws_net_transport, an integer constant. */
#define MTWS_NET_MEMORY_SIZE (MTWS_ANSWER_MAX + MTWS_PROXY_MAX + MTWS__NET_SIZE + 4096)

/* ---- looking: strings are valid until the next mtws_poll or mtws_destroy -------------------- */
typedef struct mtws_stats { /* since mtws_create */
    uint64_t messages_sent, messages_received; /* whole ones; one that is sent again counts again */
    uint64_t bytes_sent, bytes_received;       /* on the wire, requests and answers included, but
                                                  for what a proxy is told and says */
    uint64_t connects, failures;               /* connections opened; ERROR events */
    uint64_t resent, dropped;                  /* messages */
    uint64_t queued_messages, queued_bytes;    /* now: not settled; what they take of the queues */
    uint64_t unconfirmed_messages;             /* now: written, not confirmed */
    uint32_t rtt_us, rtt_min_us;               /* of Pings, the latest and the least; 0: none yet */
} mtws_stats;
MTWS_API mtws_state   mtws_get_state   (const mtws_client *ws);
MTWS_API void         mtws_get_options (const mtws_client *ws, mtws_options *out); /* resolved */
MTWS_API void         mtws_get_stats   (const mtws_client *ws, mtws_stats *out);
/* Of the last answer to an upgrade, a refusal too; the first of that name, in any case of letters.
 * NULL: absent. */
MTWS_API const char  *mtws_get_header  (const mtws_client *ws, const char *name);
MTWS_API const char  *mtws_get_subprotocol(const mtws_client *ws); /* the server's choice or "" */
MTWS_API void        *mtws_get_user_data(const mtws_client *ws);
MTWS_API const char  *mtws_result_text (int result); /* "the queue is full" */
MTWS_API const char  *mtws_state_name  (mtws_state state); /* "waiting_for_network" */
MTWS_API const char  *mtws_version     (void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif /* MTWS_H_INCLUDED */

/* clang-format on */

#if defined(MTWS_IMPLEMENTATION) && !defined(MTWS_IMPLEMENTATION_DONE)
#define MTWS_IMPLEMENTATION_DONE

#ifdef MTWS__NOT_STATIC
#error "mtws.h: with MTWS_STATIC define MTWS_IMPLEMENTATION where this file first includes it"
#endif

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif
#if defined(__linux__) || defined(__APPLE__)
#include <sys/random.h>
#endif
#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) ||   \
    defined(__DragonFly__)
#include <net/route.h>
#define MTWS__ROUTE_SOCKET 1 /* route(4) */
#endif
#ifdef MTWS_BEARSSL
#include <bearssl.h>
#endif
#ifndef AI_PASSIVE
#error "mtws.h: with MTWS_IMPLEMENTATION it goes before other headers, or use -D_DEFAULT_SOURCE"
#endif

#ifndef MTWS_ASSERT
#define MTWS_ASSERT(x) assert(x)
#endif
#if MTWS_MESSAGE_ROOM < 1
#error "mtws.h: MTWS_MESSAGE_ROOM is 1 or more"
#endif
#if defined(MTWS_MALLOC) != defined(MTWS_FREE)
#error "mtws.h: define both MTWS_MALLOC and MTWS_FREE, or neither"
#endif
#ifndef MTWS_MALLOC
#define MTWS_MALLOC(size) malloc(size)
#define MTWS_FREE(p) free(p)
#endif
#ifndef MTWS_DNS_TTL_MIN
#define MTWS_DNS_TTL_MIN 5
#endif
#ifndef MTWS_DNS_TTL_MAX
#define MTWS_DNS_TTL_MAX 3600
#endif
#ifndef MTWS_DNS_STALE_MAX
#define MTWS_DNS_STALE_MAX 259200
#endif

#define MTWS_PRIVATE static
#define MTWS__TEXT_OF(x) #x
#define MTWS__VERSION_TEXT(a, b, c) MTWS__TEXT_OF(a) "." MTWS__TEXT_OF(b) "." MTWS__TEXT_OF(c)
#define MTWS__VERSION MTWS__VERSION_TEXT(MTWS_VERSION_MAJOR, MTWS_VERSION_MINOR, MTWS_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* ==========================================================================
 * >>platform                                  POSIX.1-2008
 * uses: nothing
 * The only room that asks the system for anything. Each call goes through MTWS_SYS, so that a port
 * or a test can take its place.
 */

#ifndef MTWS_SYS
#define MTWS_SYS(name) name
#endif

#ifdef MSG_NOSIGNAL
#define MTWS__SEND_FLAGS MSG_NOSIGNAL
#else
#define MTWS__SEND_FLAGS 0
#endif

enum {
    MTWS__ADDRESSES_MAX = 16,    /* of one name, as getaddrinfo gives them */
    MTWS__NOTSENT_SIZE = 131072, /* unsent bytes the kernel may hold: a Ping waits behind them */
    MTWS__RETRIES = 16           /* of a call that a signal interrupts, so that no storm holds us */
};

typedef struct mtws__address {
    struct sockaddr_storage storage;
    socklen_t size;
} mtws__address;

/* Counts sleep where the system has such a clock. */
MTWS_PRIVATE uint64_t mtws__os_now_us(void) {
    struct timespec t = {0, 0};
#if defined(__linux__) && defined(CLOCK_BOOTTIME)
    if (MTWS_SYS(clock_gettime)(CLOCK_BOOTTIME, &t) != 0)
#endif
        MTWS_SYS(clock_gettime)(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

MTWS_PRIVATE uint64_t mtws__os_unix_ms(void) {
    struct timespec t = {0, 0};
    MTWS_SYS(clock_gettime)(CLOCK_REALTIME, &t);
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* The system's random source, or false: there is no weaker one to fall back to. */
MTWS_PRIVATE bool mtws__os_entropy(void *out, size_t size) {
    MTWS_ASSERT(size <= 256); /* getrandom gives so much at once, or fails */
#if defined(__linux__)
    for (int i = 0; i < MTWS__RETRIES; i++) {
        ssize_t got = MTWS_SYS(getrandom)(out, size, 0);
        if (got == (ssize_t)size) return true;
        if (got >= 0 || errno != EINTR) return false;
    }
    return false;
#else
    return MTWS_SYS(getentropy)(out, size) == 0;
#endif
}

/* Non-blocking and close-on-exec; -1 and errno on failure. */
MTWS_PRIVATE int mtws__os_socket_of(int family, int type) {
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
    return MTWS_SYS(socket)(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
    int fd = MTWS_SYS(socket)(family, type, 0);
    if (fd >= 0 && (MTWS_SYS(fcntl)(fd, F_SETFL, O_NONBLOCK) != 0 ||
                    MTWS_SYS(fcntl)(fd, F_SETFD, FD_CLOEXEC) != 0)) {
        int saved = errno;
        MTWS_SYS(close)(fd);
        errno = saved;
        return -1;
    }
    return fd;
#endif
}

/* For TCP: the same, made fast. */
MTWS_PRIVATE int mtws__os_socket(int family) {
    int fd = mtws__os_socket_of(family, SOCK_STREAM);
    if (fd < 0) return -1;
    /* Each of these only makes things faster or quieter, so a refusal changes nothing else. */
    int on = 1;
    MTWS_SYS(setsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &on, (socklen_t)sizeof on);
#ifdef TCP_NOTSENT_LOWAT
    int low = MTWS__NOTSENT_SIZE;
    MTWS_SYS(setsockopt)(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, (socklen_t)sizeof low);
#endif
#ifdef SO_NOSIGPIPE
    MTWS_SYS(setsockopt)(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, (socklen_t)sizeof on);
#endif
    return fd;
}

/* 0: connected; EINPROGRESS: under way; else why not. */
MTWS_PRIVATE int mtws__os_connect(int fd, const mtws__address *address) {
    const struct sockaddr *to = (const struct sockaddr *)&address->storage;
    if (MTWS_SYS(connect)(fd, to, address->size) == 0) return 0;
    return errno == EINTR ? EINPROGRESS : errno;
}

/* How a connect that was under way ended: 0, EINPROGRESS or why it failed. */
MTWS_PRIVATE int mtws__os_connected(int fd) {
    struct pollfd p = {fd, POLLOUT, 0};
    int ready = MTWS_SYS(poll)(&p, 1, 0);
    if (ready == 0 || (ready < 0 && errno == EINTR)) return EINPROGRESS;
    int error = 0;
    socklen_t size = (socklen_t)sizeof error;
    if (ready < 0 || MTWS_SYS(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        return errno;
    }
    return error;
}

/* Whether it is connected to itself: where nobody listens at a port of this machine, the system may
 * draw that very port for us, and TCP opens it from both sides at once (RFC 9293 section 3.5). */
MTWS_PRIVATE bool mtws__os_is_self(int fd) {
    mtws__address here, there;
    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    here.size = there.size = (socklen_t)sizeof here.storage;
    if (MTWS_SYS(getsockname)(fd, (struct sockaddr *)&here.storage, &here.size) != 0 ||
        MTWS_SYS(getpeername)(fd, (struct sockaddr *)&there.storage, &there.size) != 0)
        return false;
    return memcmp(&here, &there, sizeof here) == 0;
}

/* Bytes > 0, 0 at the end, or -errno; -EAGAIN where there is nothing to read. */
MTWS_PRIVATE ptrdiff_t mtws__os_receive(int fd, void *out, size_t size) {
    for (int i = 0; i < MTWS__RETRIES; i++) {
        ssize_t got = MTWS_SYS(recv)(fd, out, size, 0);
        if (got >= 0) return (ptrdiff_t)got;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return -EAGAIN;
        if (errno != EINTR) return -errno;
    }
    return -EAGAIN;
}

/* Bytes >= 0, or -errno; -EAGAIN where there is no room. */
MTWS_PRIVATE ptrdiff_t mtws__os_send(int fd, const void *data, size_t size) {
    for (int i = 0; i < MTWS__RETRIES; i++) {
        ssize_t put = MTWS_SYS(send)(fd, data, size, MTWS__SEND_FLAGS);
        if (put >= 0) return (ptrdiff_t)put;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return -EAGAIN;
        if (errno != EINTR) return -errno;
    }
    return -EAGAIN;
}

/* Bytes that were written and that the peer's system has not acknowledged; 0 where the system
 * can't tell. */
MTWS_PRIVATE size_t mtws__os_unsent(int fd) {
    int size = 0;
#if defined(__linux__) && defined(TIOCOUTQ)
    if (MTWS_SYS(ioctl)(fd, TIOCOUTQ, &size) != 0 || size < 0) return 0;
#elif defined(SO_NWRITE)
    socklen_t length = (socklen_t)sizeof size;
    if (MTWS_SYS(getsockopt)(fd, SOL_SOCKET, SO_NWRITE, &size, &length) != 0 || size < 0) return 0;
#else
    (void)fd;
#endif
    return (size_t)size;
}

MTWS_PRIVATE void mtws__os_shutdown(int fd, bool both) {
    MTWS_SYS(shutdown)(fd, both ? SHUT_RDWR : SHUT_WR);
}

/* Once, whatever it answers: the number may belong to somebody else after it. */
MTWS_PRIVATE void mtws__os_close(int fd) { MTWS_SYS(close)(fd); }

/* Descriptors that are ready, 0 after timeout_ms, -1 where a signal handler ran. */
MTWS_PRIVATE int mtws__os_poll(struct pollfd *fds, int count, int32_t timeout_ms) {
    return MTWS_SYS(poll)(fds, (nfds_t)count, timeout_ms);
}

/* Lets time pass, whatever descriptors say. */
MTWS_PRIVATE void mtws__os_nap(int32_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    MTWS_SYS(nanosleep)(&t, NULL);
}

/* A pair of descriptors (they may be one) by which mtws_wake ends a poll. */
MTWS_PRIVATE bool mtws__os_wake_open(int fds[2]) {
#if defined(__linux__)
    fds[0] = fds[1] = MTWS_SYS(eventfd)(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fds[0] >= 0;
#else
    if (MTWS_SYS(pipe)(fds) != 0) return false;
    for (int i = 0; i < 2; i++) {
        MTWS_SYS(fcntl)(fds[i], F_SETFL, O_NONBLOCK);
        MTWS_SYS(fcntl)(fds[i], F_SETFD, FD_CLOEXEC);
    }
    return true;
#endif
}

MTWS_PRIVATE void mtws__os_wake_close(int fds[2]) {
    if (fds[0] >= 0) mtws__os_close(fds[0]);
    if (fds[1] >= 0 && fds[1] != fds[0]) mtws__os_close(fds[1]);
}

/* Async-signal-safe, and errno is kept. A full pipe means that a wake-up waits already. */
MTWS_PRIVATE void mtws__os_wake(int fd) {
    int saved = errno;
    uint64_t one = 1;
    for (int i = 0; i < MTWS__RETRIES; i++) {
        if (MTWS_SYS(write)(fd, &one, sizeof one) >= 0 || errno != EINTR) break;
    }
    errno = saved;
}

/* Whether there was a wake-up; all that wait are taken. */
MTWS_PRIVATE bool mtws__os_woken(int fd) {
    uint8_t bytes[64];
    return MTWS_SYS(read)(fd, bytes, sizeof bytes) > 0;
}

/* A descriptor that becomes readable when a link, an address or a route changes; -1 where the
 * system has none. What the kernel's rtnetlink.h says is written out: not every libc has it. */
MTWS_PRIVATE int mtws__os_watch_open(void) {
#if defined(__linux__)
    enum { LINK = 0x1, IPV4 = 0x10 | 0x40, IPV6 = 0x100 | 0x400 }; /* addresses and routes */
    struct {
        sa_family_t family;
        uint16_t pad;
        uint32_t pid, groups;
    } address = {AF_NETLINK, 0, 0, LINK | IPV4 | IPV6};
    int fd = MTWS_SYS(socket)(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct sockaddr *to = (const struct sockaddr *)&address;
    if (fd >= 0 && MTWS_SYS(bind)(fd, to, (socklen_t)sizeof address) != 0) {
        MTWS_SYS(close)(fd);
        return -1;
    }
    return fd;
#elif defined(MTWS__ROUTE_SOCKET)
    return mtws__os_socket_of(PF_ROUTE, SOCK_RAW);
#else
    return -1;
#endif
}

/* Whether what a watching descriptor gave tells of a change. Route sockets tell of more: of others'
 * look-ups, and of what could not be reached. The type stands at the same place in all of them. */
MTWS_PRIVATE bool mtws__os_watch_tells(const uint8_t *message, size_t size) {
#if defined(MTWS__ROUTE_SOCKET)
    uint8_t type = size < 4 ? 0 : message[3];
    if (type == RTM_GET || type == RTM_MISS || type == RTM_LOSING) return false;
#ifdef RTM_RESOLVE
    if (type == RTM_RESOLVE) return false;
#endif
#else
    (void)message;
    (void)size;
#endif
    return true;
}

/* Whether something changed since the last call. What exactly is not asked: the state is looked at,
 * and messages that the system had no room for (ENOBUFS) are a change too. */
MTWS_PRIVATE bool mtws__os_watch_changed(int fd) {
    bool changed = false;
    for (int i = 0; i < MTWS__RETRIES; i++) {
        uint8_t bytes[64]; /* the rest of a longer message is cut off, and not missed */
        ssize_t got = MTWS_SYS(recv)(fd, bytes, sizeof bytes, 0);
        bool tells = got >= 0 ? mtws__os_watch_tells(bytes, (size_t)got) : errno == ENOBUFS;
        if (tells) changed = true;
        if (got < 0 && errno != EINTR) break;
    }
    return changed;
}

/* Whether no network is needed to reach it. The unspecified address leads to this machine, too. */
MTWS_PRIVATE bool mtws__os_is_loopback(const mtws__address *address) {
    const struct sockaddr_storage *storage = &address->storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)storage;
    const struct in6_addr *six = &in6->sin6_addr;
    uint32_t four = ((const struct sockaddr_in *)(const void *)storage)->sin_addr.s_addr;
    if (storage->ss_family == AF_INET6) {
        if (IN6_IS_ADDR_LOOPBACK(six) || IN6_IS_ADDR_UNSPECIFIED(six)) return true;
        if (!IN6_IS_ADDR_V4MAPPED(six)) return false;
        memcpy(&four, six->s6_addr + 12, sizeof four);
    }
    return four == 0 || ntohl(four) >> 24 == 127;
}

/* Whether any interface but the loopback is running and has an address. True where that can't be
 * told. */
MTWS_PRIVATE bool mtws__os_has_interface(void) {
    struct ifaddrs *list = NULL;
    bool found = false;
    if (MTWS_SYS(getifaddrs)(&list) != 0) return true;
    for (const struct ifaddrs *i = list; i != NULL && !found; i = i->ifa_next) {
        unsigned flags = i->ifa_flags;
        int family = i->ifa_addr == NULL ? AF_UNSPEC : i->ifa_addr->sa_family;
        found = (flags & IFF_UP) != 0 && (flags & IFF_RUNNING) != 0 &&
                (flags & IFF_LOOPBACK) == 0 && (family == AF_INET || family == AF_INET6);
    }
    MTWS_SYS(freeifaddrs)(list);
    return found;
}

/* A socket that exchanges datagrams with this address alone, from a port that the system draws; -1
 * and errno where there is no way to it. Sends nothing. */
MTWS_PRIVATE int mtws__os_datagram(const mtws__address *address) {
    int fd = mtws__os_socket_of(address->storage.ss_family, SOCK_DGRAM);
    if (fd < 0) return -1;
    int error = mtws__os_connect(fd, address);
    if (error == 0) return fd;
    mtws__os_close(fd);
    errno = error;
    return -1;
}

/* Whether the system knows no way to the address: connecting a datagram socket asks it. */
MTWS_PRIVATE bool mtws__os_unreachable(const mtws__address *address) {
    int fd = mtws__os_datagram(address);
    if (fd < 0) return errno == ENETUNREACH;
    mtws__os_close(fd);
    return false;
}

/* An address of 4 or 16 bytes as the system takes it. zone: an interface's name or number for a
 * link-local one, or "". */
MTWS_PRIVATE void mtws__os_address(mtws__address *out, bool six, const uint8_t *bytes,
                                   const char *zone, uint16_t port) {
    memset(out, 0, sizeof *out);
    if (!six) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&out->storage;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, bytes, 4);
        out->size = (socklen_t)sizeof *in;
        return;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&out->storage;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, bytes, 16);
    out->size = (socklen_t)sizeof *in6;
    if (zone[0] == 0) return;
    for (const char *digit = zone; *digit >= '0' && *digit <= '9'; digit++) {
        in6->sin6_scope_id = in6->sin6_scope_id * 10 + (uint32_t)(*digit - '0');
        if (digit[1] == 0) return;
    }
    in6->sin6_scope_id = MTWS_SYS(if_nametoindex)(zone);
}

/* The other way: the bytes of an address and the number of its zone. True: of IPv6. */
MTWS_PRIVATE bool mtws__os_address_bytes(const mtws__address *address, uint8_t bytes[16],
                                         uint32_t *zone) {
    const struct sockaddr_storage *storage = &address->storage;
    memset(bytes, 0, 16);
    *zone = 0;
    if (storage->ss_family == AF_INET) {
        memcpy(bytes, &((const struct sockaddr_in *)(const void *)storage)->sin_addr, 4);
        return false;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)storage;
    memcpy(bytes, &in6->sin6_addr, 16);
    *zone = in6->sin6_scope_id;
    return true;
}

/* What changes when a file does. */
typedef struct mtws__stamp {
    uint64_t device, inode, size, written_us, changed_us;
} mtws__stamp;

/* False, and all zero: there is no such file. */
MTWS_PRIVATE bool mtws__os_file_stamp(const char *path, mtws__stamp *out) {
    struct stat s;
    memset(out, 0, sizeof *out);
    memset(&s, 0, sizeof s);
    if (MTWS_SYS(stat)(path, &s) != 0) return false;
#if defined(__APPLE__)
    const struct timespec *written = &s.st_mtimespec, *changed = &s.st_ctimespec;
#else
    const struct timespec *written = &s.st_mtim, *changed = &s.st_ctim;
#endif
    out->device = (uint64_t)s.st_dev;
    out->inode = (uint64_t)s.st_ino;
    out->size = (uint64_t)s.st_size;
    out->written_us = (uint64_t)written->tv_sec * 1000000u + (uint64_t)written->tv_nsec / 1000u;
    out->changed_us = (uint64_t)changed->tv_sec * 1000000u + (uint64_t)changed->tv_nsec / 1000u;
    return true;
}

/* For reading; -1 and errno on failure. What is no plain file must not make us wait. */
MTWS_PRIVATE int mtws__os_config_open(const char *path) {
    int fd = -1;
    for (int i = 0; i < MTWS__RETRIES; i++) {
        fd = MTWS_SYS(open)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 || errno != EINTR) break;
    }
    return fd;
}

/* Bytes, 0 at the end or -errno. */
MTWS_PRIVATE ptrdiff_t mtws__os_file_read(int fd, void *out, size_t size) {
    for (int i = 0; i < MTWS__RETRIES; i++) {
        ssize_t got = MTWS_SYS(read)(fd, out, size);
        if (got >= 0) return (ptrdiff_t)got;
        if (errno != EINTR) break;
    }
    return -errno;
}

/* The addresses of a name, as the system's own resolver has them, which blocks: only for
 * MTWS_RESOLVER_SYSTEM. 0, or what getaddrinfo says. */
MTWS_PRIVATE int mtws__os_resolve(const char *host, uint16_t port, mtws__address *out, int *count) {
    struct addrinfo hints, *list = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    *count = 0;
    int error = MTWS_SYS(getaddrinfo)(host, NULL, &hints, &list);
    if (error != 0) return error;
    for (struct addrinfo *a = list; a != NULL && *count < MTWS__ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
        if (a->ai_addrlen > sizeof out->storage) continue;
        mtws__address *address = &out[(*count)++];
        memset(address, 0, sizeof *address);
        memcpy(&address->storage, a->ai_addr, a->ai_addrlen);
        address->size = (socklen_t)a->ai_addrlen;
        if (a->ai_family == AF_INET) {
            ((struct sockaddr_in *)(void *)&address->storage)->sin_port = htons(port);
        } else {
            ((struct sockaddr_in6 *)(void *)&address->storage)->sin6_port = htons(port);
        }
    }
    MTWS_SYS(freeaddrinfo)(list);
    return *count > 0 ? 0 : EAI_NONAME;
}

/* A variable of the environment; NULL where it is absent or empty. */
MTWS_PRIVATE const char *mtws__os_environment(const char *name) {
    const char *value = MTWS_SYS(getenv)(name);
    return value == NULL || value[0] == 0 ? NULL : value;
}

MTWS_PRIVATE const char *mtws__os_resolve_text(int error) { return gai_strerror(error); }

/* strerror is not thread-safe everywhere, so the errors that users meet have their words here. */
MTWS_PRIVATE const char *mtws__os_error_text(int error) {
    switch (error) {
    case ECONNREFUSED: return "connection refused";
    case ETIMEDOUT: return "timed out";
    case EHOSTUNREACH: return "no route to host";
    case ENETUNREACH: return "network is unreachable";
    case ENETDOWN: return "network is down";
    case ECONNRESET: return "connection reset by peer";
    case ECONNABORTED: return "connection aborted";
    case EPIPE: return "the peer has closed the connection";
    case EMFILE: return "the process has no descriptors left";
    case ENFILE: return "the system has no descriptors left";
    case ENOBUFS: return "the system has no buffers left";
    case ENOMEM: return "the system has no memory left";
    case EADDRNOTAVAIL: return "no local address or port is free";
    case EACCES: return "not permitted (firewall?)";
    case EPERM: return "not permitted (firewall?)";
    case EAFNOSUPPORT: return "the system lacks this address family";
    case EINVAL: return "no such address (a link-local one needs a zone, as /etc/hosts can give)";
    default: return "system error";
    }
}

#ifdef MTWS_BEARSSL

/* The file of certificates that the environment names; NULL: none, or the program runs with more
 * rights than whoever set it. */
MTWS_PRIVATE const char *mtws__os_ca_file(void) {
    if (MTWS_SYS(geteuid)() != MTWS_SYS(getuid)() || MTWS_SYS(getegid)() != MTWS_SYS(getgid)()) {
        return NULL;
    }
    return mtws__os_environment("SSL_CERT_FILE");
}

/* Opens a plain file for reading, nothing that could block; -errno: there is none. */
MTWS_PRIVATE int mtws__os_file_open(const char *path, size_t *size) {
    struct stat status;
    int fd = mtws__os_config_open(path);
    if (fd < 0) return -errno;
    int error = EINVAL;
    if (MTWS_SYS(fstat)(fd, &status) != 0) {
        error = errno;
    } else if (S_ISDIR(status.st_mode)) {
        error = EISDIR;
    } else if (S_ISREG(status.st_mode) && status.st_size >= 0 &&
               (uint64_t)status.st_size < SIZE_MAX) {
        *size = (size_t)status.st_size;
        return fd;
    }
    MTWS_SYS(close)(fd);
    return -error;
}

/* Why a file can't be had. */
MTWS_PRIVATE const char *mtws__os_file_text(int error) {
    switch (error) {
    case ENOENT: return "no such file";
    case ENOTDIR: return "no such file";
    case EACCES: return "not permitted";
    case EISDIR: return "a folder";
    case EINVAL: return "no plain file";
    default: return mtws__os_error_text(error);
    }
}

#endif /* MTWS_BEARSSL */

/* ==========================================================================
 * >>bytes
 * uses: nothing
 * Sizes, endian loads and stores, forgetting, a bounded text writer, the ring. Pure.
 */

typedef struct mtws__span {
    const uint8_t *data;
    size_t size;
} mtws__span;

/* Text is appended until the room is used up; from then on `full` is set and nothing is taken, so
 * that a caller checks once, at the end. Always terminated where capacity > 0. */
typedef struct mtws__writer {
    char *data;
    size_t capacity; /* room for the terminator included */
    size_t size;     /* without the terminator */
    bool full;
} mtws__writer;

/* A ring of bytes, addressed by offsets that only grow: what lies between head and tail is kept. */
typedef struct mtws__ring {
    uint8_t *data;
    size_t capacity;
    uint64_t base; /* the offset that lies at data[0]; moved when the ring is empty */
    uint64_t head;
    uint64_t tail;
} mtws__ring;

MTWS_PRIVATE size_t mtws__min_size(size_t a, size_t b) { return a < b ? a : b; }
MTWS_PRIVATE uint64_t mtws__min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
MTWS_PRIVATE uint64_t mtws__max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* a + b, or the largest number: times and counters saturate. */
MTWS_PRIVATE uint64_t mtws__add_u64(uint64_t a, uint64_t b) {
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

/* Milliseconds from now until then, rounded up. */
MTWS_PRIVATE int32_t mtws__ms_until(uint64_t then_us, uint64_t now_us) {
    uint64_t left_us = then_us > now_us ? then_us - now_us : 0;
    return (int32_t)mtws__min_u64(left_us / 1000 + (left_us % 1000 != 0), INT32_MAX);
}

MTWS_PRIVATE uint64_t mtws__load_big(const uint8_t *data, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | data[i];
    return value;
}

MTWS_PRIVATE void mtws__store_big(uint8_t *out, size_t size, uint64_t value) {
    for (size_t i = size; i > 0; i--) {
        out[i - 1] = (uint8_t)(value & 0xff);
        value >>= 8;
    }
}

MTWS_PRIVATE uint32_t mtws__load_little32(const uint8_t *data) {
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
           (uint32_t)data[3] << 24;
}

MTWS_PRIVATE void mtws__store_little32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (8 * i) & 0xff);
}

MTWS_PRIVATE char mtws__lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
MTWS_PRIVATE bool mtws__is_digit(char c) { return c >= '0' && c <= '9'; }
MTWS_PRIVATE bool mtws__is_alpha(char c) {
    c = mtws__lower(c);
    return c >= 'a' && c <= 'z';
}

MTWS_PRIVATE bool mtws__is_hex(char c) {
    c = mtws__lower(c);
    return mtws__is_digit(c) || (c >= 'a' && c <= 'f');
}

/* The number that so many hexadecimal digits, up to eight, stand for. */
MTWS_PRIVATE uint32_t mtws__hex(const uint8_t *digits, size_t count) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = mtws__lower((char)digits[i]);
        value = value * 16 + (uint32_t)(c - (mtws__is_digit(c) ? '0' : 'a' - 10));
    }
    return value;
}

MTWS_PRIVATE mtws__span mtws__span_of(const char *text) {
    mtws__span span;
    span.data = (const uint8_t *)text;
    span.size = strlen(text);
    return span;
}

/* ASCII letters compare alike in both cases. */
MTWS_PRIVATE bool mtws__span_is(mtws__span span, const char *text) {
    size_t i = 0;
    for (; i < span.size && text[i] != 0; i++) {
        if (mtws__lower((char)span.data[i]) != mtws__lower(text[i])) return false;
    }
    return i == span.size && text[i] == 0;
}

/* Forgets secrets: not to be left out by a compiler that sees that nobody reads them. */
MTWS_PRIVATE void mtws__wipe(void *data, size_t size) {
    volatile uint8_t *at = (volatile uint8_t *)data;
    while (size-- > 0) *at++ = 0;
}

MTWS_PRIVATE void mtws__writer_open(mtws__writer *w, char *data, size_t capacity) {
    w->data = data;
    w->capacity = capacity;
    w->size = 0;
    w->full = capacity == 0;
    if (capacity > 0) data[0] = 0;
}

MTWS_PRIVATE void mtws__writer_put(mtws__writer *w, const void *data, size_t size) {
    if (w->full || size >= w->capacity - w->size) {
        w->full = true;
        return;
    }
    if (size > 0) memcpy(w->data + w->size, data, size);
    w->size += size;
    w->data[w->size] = 0;
}

MTWS_PRIVATE void mtws__writer_text(mtws__writer *w, const char *text) {
    mtws__writer_put(w, text, strlen(text));
}

MTWS_PRIVATE void mtws__writer_number(mtws__writer *w, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    mtws__writer_put(w, digits + at, sizeof digits - at);
}

MTWS_PRIVATE void mtws__ring_open(mtws__ring *ring, uint8_t *data, size_t capacity) {
    memset(ring, 0, sizeof *ring);
    ring->data = data;
    ring->capacity = capacity;
}

MTWS_PRIVATE size_t mtws__ring_used(const mtws__ring *ring) {
    return (size_t)(ring->tail - ring->head);
}

MTWS_PRIVATE size_t mtws__ring_free(const mtws__ring *ring) {
    return ring->capacity - mtws__ring_used(ring);
}

/* The bytes at `offset`, as many of `size` as lie in one piece. */
MTWS_PRIVATE uint8_t *mtws__ring_at(const mtws__ring *ring, uint64_t offset, size_t *size) {
    size_t place = (size_t)((offset - ring->base) % ring->capacity);
    *size = mtws__min_size(*size, ring->capacity - place);
    return ring->data + place;
}

MTWS_PRIVATE void mtws__ring_load(const mtws__ring *ring, uint64_t offset, uint8_t *out,
                                  size_t size) {
    while (size > 0) {
        size_t part = size;
        const uint8_t *from = mtws__ring_at(ring, offset, &part);
        memcpy(out, from, part);
        out += part;
        offset += part;
        size -= part;
    }
}

MTWS_PRIVATE void mtws__ring_store(mtws__ring *ring, uint64_t offset, const uint8_t *data,
                                   size_t size) {
    while (size > 0) {
        size_t part = size;
        uint8_t *to = mtws__ring_at(ring, offset, &part);
        memcpy(to, data, part);
        data += part;
        offset += part;
        size -= part;
    }
}

/* Moves `size` bytes to the same or a lower offset; the two places may overlap. */
MTWS_PRIVATE void mtws__ring_slide(mtws__ring *ring, uint64_t to, uint64_t from, size_t size) {
    while (size > 0 && to != from) {
        size_t part = size;
        const uint8_t *source = mtws__ring_at(ring, from, &part);
        uint8_t *target = mtws__ring_at(ring, to, &part);
        memmove(target, source, part);
        to += part;
        from += part;
        size -= part;
    }
}

/* Frees what lies before `offset`. An empty ring starts at its beginning again: few pages are
 * touched, and messages seldom wrap. */
MTWS_PRIVATE void mtws__ring_release(mtws__ring *ring, uint64_t offset) {
    MTWS_ASSERT(offset >= ring->head && offset <= ring->tail);
    ring->head = offset;
    if (ring->head == ring->tail) ring->base = ring->tail;
}

/* ==========================================================================
 * >>names
 * uses: nothing
 * Words for results and states. Pure.
 */

MTWS_PRIVATE const char *mtws__result_text(int result) {
    static const char *const texts[] = {
        "no error",
        "a bad argument or option",
        "not allowed in this state",
        "not enough memory",
        "the queue is full",
        "larger than a limit allows",
        "not a valid URL",
        "the system's random source failed",
        "the name could not be resolved",
        "could not connect",
        "the proxy failed",
        "TLS failed, or is not in this build",
        "the certificate is not trusted, or there are no roots to trust",
        "the server's certificate is for another host",
        "the server's certificate is not valid at this time",
        "the answer to the upgrade is not RFC 6455's",
        "the server refused the upgrade",
        "the server broke RFC 6455",
        "invalid UTF-8",
        "timed out",
        "no answer to a heartbeat",
        "the server closed the connection",
        "the connection broke",
        "the network is down",
        "the message expired in the queue",
        "cleared from the queue",
        "nothing is left to do",
        "mtws_disconnect ended its connection",
    };
    size_t count = sizeof texts / sizeof texts[0];
    size_t index = (size_t)(-(int64_t)result);
    return result <= 0 && index < count ? texts[index] : "unknown result";
}

MTWS_PRIVATE const char *mtws__state_name(mtws_state state) {
    static const char *const names[] = {"disconnected", "connecting",          "connected",
                                        "reconnecting", "waiting_for_network", "error",
                                        "failed"};
    return (size_t)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

/* ==========================================================================
 * >>sha1                                      RFC 3174
 * uses: bytes
 * For Sec-WebSocket-Accept, which asks for nothing stronger. Pure.
 */

MTWS_PRIVATE uint32_t mtws__rotate_left(uint32_t x, int n) { return x << n | x >> (32 - n); }

MTWS_PRIVATE void mtws__sha1_block(uint32_t state[5], const uint8_t block[64]) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)mtws__load_big(block + 4 * i, 4);
    for (int i = 16; i < 80; i++) {
        w[i] = mtws__rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = mtws__rotate_left(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = mtws__rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

MTWS_PRIVATE void mtws__sha1(uint8_t out[20], const void *data, size_t size) {
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const uint8_t *at = (const uint8_t *)data;
    size_t left = size;
    for (; left >= 64; left -= 64, at += 64) mtws__sha1_block(state, at);
    uint8_t last[128];
    memset(last, 0, sizeof last);
    if (left > 0) memcpy(last, at, left);
    last[left] = 0x80;
    size_t blocks = left < 56 ? 1 : 2;
    mtws__store_big(last + blocks * 64 - 8, 8, (uint64_t)size * 8);
    for (size_t i = 0; i < blocks; i++) mtws__sha1_block(state, last + i * 64);
    for (int i = 0; i < 5; i++) mtws__store_big(out + 4 * i, 4, state[i]);
}

/* ==========================================================================
 * >>base64                                    RFC 4648 section 4
 * uses: bytes
 * Pure.
 */

#define MTWS__BASE64_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

MTWS_PRIVATE void mtws__base64_encode(mtws__writer *w, const uint8_t *data, size_t size) {
    static const char digits[] = MTWS__BASE64_DIGITS;
    for (size_t i = 0; i < size; i += 3) {
        size_t have = mtws__min_size(3, size - i);
        uint8_t three[3] = {0, 0, 0};
        memcpy(three, data + i, have);
        uint32_t bits = (uint32_t)mtws__load_big(three, 3);
        char four[4];
        for (int k = 0; k < 4; k++) four[k] = digits[bits >> (18 - 6 * k) & 63];
        if (have < 3) four[3] = '=';
        if (have < 2) four[2] = '=';
        mtws__writer_put(w, four, 4);
    }
}

/* Up to the first character that is no digit of base64. Returns the bytes written to out, at most
 * its capacity. */
MTWS_PRIVATE size_t mtws__base64_decode(uint8_t *out, size_t capacity, mtws__span text) {
    static const char digits[] = MTWS__BASE64_DIGITS;
    uint32_t bits = 0;
    size_t count = 0, size = 0;
    for (; count < text.size; count++) {
        const char *digit = strchr(digits, (char)text.data[count]);
        if (text.data[count] == 0 || digit == NULL) break;
        bits = bits << 6 | (uint32_t)(digit - digits);
        if (count % 4 == 0) continue;
        if (size == capacity) break;
        out[size++] = (uint8_t)(bits >> (6 - 2 * (count % 4)) & 0xff);
    }
    return size;
}

/* ==========================================================================
 * >>utf8                                      RFC 3629, RFC 6455 section 8.1
 * uses: nothing
 * Checks text as it arrives, in pieces cut anywhere, and fails at the first bad byte. Pure.
 */

typedef struct mtws__utf8 {
    uint8_t need;      /* continuation bytes that the code point still needs */
    uint8_t low, high; /* what the next of them may be */
} mtws__utf8;

MTWS_PRIVATE void mtws__utf8_start(mtws__utf8 *u) {
    u->need = 0;
    u->low = 0x80;
    u->high = 0xbf;
}

/* The lead byte decides how many bytes follow, and narrows the first of them where a wider range
 * would let in overlong forms, surrogates or numbers over U+10FFFF. */
MTWS_PRIVATE bool mtws__utf8_lead(mtws__utf8 *u, uint8_t byte) {
    if (byte >= 0xc2 && byte <= 0xdf) u->need = 1;
    else if (byte >= 0xe0 && byte <= 0xef) u->need = 2;
    else if (byte >= 0xf0 && byte <= 0xf4) u->need = 3;
    else return false;
    u->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    u->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    return true;
}

/* Bytes at the start of data that are ASCII, looked at eight at a time. */
MTWS_PRIVATE size_t mtws__utf8_ascii(const uint8_t *data, size_t size) {
    size_t i = 0;
    for (; size - i >= 16; i += 16) {
        uint64_t a, b;
        memcpy(&a, data + i, 8);
        memcpy(&b, data + i + 8, 8);
        if (((a | b) & UINT64_C(0x8080808080808080)) != 0) break;
    }
    while (i < size && data[i] < 0x80) i++;
    return i;
}

/* The most frequent whole sequences, checked without the state: two bytes, and three whose lead is
 * neither E0 nor ED. Returns how many bytes were passed. */
MTWS_PRIVATE size_t mtws__utf8_common(const uint8_t *data, size_t size) {
    size_t i = 0;
    while (size - i >= 3) {
        uint8_t a = data[i], b = data[i + 1];
        if (a >= 0xc2 && a <= 0xdf && (b & 0xc0) == 0x80) i += 2;
        else if (a > 0xe0 && a <= 0xef && a != 0xed && (b & 0xc0) == 0x80 &&
                 (data[i + 2] & 0xc0) == 0x80)
            i += 3;
        else break;
    }
    return i;
}

/* False at the first byte that no valid text could have there. */
MTWS_PRIVATE bool mtws__utf8_feed(mtws__utf8 *u, const uint8_t *data, size_t size) {
    size_t i = 0;
    while (i < size) {
        if (u->need == 0) {
            i += mtws__utf8_ascii(data + i, size - i);
            i += mtws__utf8_common(data + i, size - i);
            if (i == size) break;
            if (data[i] < 0x80) continue;
            if (!mtws__utf8_lead(u, data[i++])) return false;
            continue;
        }
        if (data[i] < u->low || data[i] > u->high) return false;
        u->low = 0x80;
        u->high = 0xbf;
        u->need--;
        i++;
    }
    return true;
}

/* Whether the text may end here: not within a code point. */
MTWS_PRIVATE bool mtws__utf8_whole(const mtws__utf8 *u) { return u->need == 0; }

MTWS_PRIVATE bool mtws__utf8_valid(const void *data, size_t size) {
    mtws__utf8 u;
    mtws__utf8_start(&u);
    return mtws__utf8_feed(&u, (const uint8_t *)data, size) && mtws__utf8_whole(&u);
}

/* ==========================================================================
 * >>json                                      RFC 8259
 * uses: bytes
 * Finds one member of a top-level object, where it lies: no copy, no recursion, one pass. Text that
 * is not JSON has no members. Pure.
 */

enum { MTWS__JSON_DEPTH = 128 }; /* deeper nesting is not followed, and counts as no JSON */

typedef struct mtws__json {
    const uint8_t *at, *end;
    uint8_t objects[MTWS__JSON_DEPTH / 8]; /* a bit for each open container: it is an object */
    int depth;
} mtws__json;

MTWS_PRIVATE void mtws__json_space(mtws__json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r'))
        j->at++;
}

MTWS_PRIVATE bool mtws__json_take(mtws__json *j, char c) {
    if (j->at == j->end || *j->at != (uint8_t)c) return false;
    j->at++;
    return true;
}

MTWS_PRIVATE bool mtws__json_word(mtws__json *j, const char *word) {
    for (; *word != 0; word++) {
        if (!mtws__json_take(j, *word)) return false;
    }
    return true;
}

MTWS_PRIVATE size_t mtws__json_digits(mtws__json *j) {
    size_t count = 0;
    for (; j->at < j->end && mtws__is_digit((char)*j->at); j->at++) count++;
    return count;
}

MTWS_PRIVATE bool mtws__json_number(mtws__json *j) {
    (void)mtws__json_take(j, '-');
    if (!mtws__json_take(j, '0') && mtws__json_digits(j) == 0) return false;
    if (mtws__json_take(j, '.') && mtws__json_digits(j) == 0) return false;
    if (mtws__json_take(j, 'e') || mtws__json_take(j, 'E')) {
        if (!mtws__json_take(j, '+')) (void)mtws__json_take(j, '-');
        return mtws__json_digits(j) > 0;
    }
    return true;
}

/* A string, quotes included; *out is what lies between them, as written. */
MTWS_PRIVATE bool mtws__json_string(mtws__json *j, mtws__span *out) {
    if (!mtws__json_take(j, '"')) return false;
    out->data = j->at;
    for (; j->at < j->end && *j->at != '"'; j->at++) {
        if (*j->at < 0x20) return false;
        if (*j->at != '\\') continue;
        if (++j->at == j->end || *j->at == 0 || !strchr("\"\\/bfnrtu", *j->at)) return false;
        if (*j->at != 'u') continue;
        for (int i = 0; i < 4; i++) {
            if (++j->at == j->end || !mtws__is_hex((char)*j->at)) return false;
        }
    }
    out->size = (size_t)(j->at - out->data);
    return mtws__json_take(j, '"');
}

/* Whether the innermost open container is an object. */
MTWS_PRIVATE bool mtws__json_in_object(const mtws__json *j) {
    MTWS_ASSERT(j->depth > 0);
    return (j->objects[(j->depth - 1) / 8] >> ((j->depth - 1) % 8) & 1) != 0;
}

MTWS_PRIVATE bool mtws__json_open(mtws__json *j, bool object) {
    if (j->depth == MTWS__JSON_DEPTH) return false;
    uint8_t bit = (uint8_t)(1u << (j->depth % 8));
    uint8_t *bits = &j->objects[j->depth / 8];
    *bits = (uint8_t)(object ? *bits | bit : *bits & ~bit);
    j->depth++;
    return true;
}

/* Passes a value that is no container, or the opening of one: then *opened is set. */
MTWS_PRIVATE bool mtws__json_scalar(mtws__json *j, bool *opened) {
    mtws__span text;
    *opened = false;
    if (j->at == j->end) return false;
    switch (*j->at) {
    case '{':
    case '[': *opened = true; return mtws__json_open(j, *j->at++ == '{');
    case '"': return mtws__json_string(j, &text);
    case 't': return mtws__json_word(j, "true");
    case 'f': return mtws__json_word(j, "false");
    case 'n': return mtws__json_word(j, "null");
    default: return mtws__json_number(j);
    }
}

MTWS_PRIVATE size_t mtws__json_put_utf8(uint8_t out[4], uint32_t point) {
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size; i > 1; i--) {
        out[i - 1] = (uint8_t)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (uint8_t)((size == 2 ? 0xc0 : size == 3 ? 0xe0 : 0xf0) | point);
    return size;
}

/* The character at *at of a string's inside, decoded; *at moves past it. 0: a lone surrogate. */
MTWS_PRIVATE size_t mtws__json_decode(mtws__span text, size_t *at, uint8_t out[4]) {
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    uint8_t c = text.data[(*at)++];
    if (c != '\\') {
        out[0] = c;
        return 1;
    }
    c = text.data[(*at)++];
    if (c != 'u') {
        const char *name = strchr(names, c);
        out[0] = name != NULL ? (uint8_t)values[name - names] : c;
        return 1;
    }
    uint32_t point = mtws__hex(text.data + *at, 4);
    *at += 4;
    if (point >= 0xd800 && point < 0xdc00 && text.size - *at >= 6 && text.data[*at] == '\\' &&
        text.data[*at + 1] == 'u') {
        uint32_t low = mtws__hex(text.data + *at + 2, 4);
        if (low < 0xdc00 || low > 0xdfff) return 0;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    }
    return point >= 0xd800 && point < 0xe000 ? 0 : mtws__json_put_utf8(out, point);
}

/* Whether a string's inside, its escapes decoded, is the text. */
MTWS_PRIVATE bool mtws__json_is(mtws__span inside, const char *text) {
    size_t at = 0;
    while (at < inside.size) {
        uint8_t bytes[4];
        size_t size = mtws__json_decode(inside, &at, bytes);
        if (size == 0) return false;
        for (size_t i = 0; i < size; i++, text++) {
            if (*text == 0 || (uint8_t)*text != bytes[i]) return false;
        }
    }
    return *text == 0;
}

/* Between values: closes what ends here, and passes the comma and the next member's name. *key is
 * set where that is a member of the top-level object. 1: a value follows; 0: the text has ended;
 * -1. */
MTWS_PRIVATE int mtws__json_between(mtws__json *j, bool opened, mtws__span *key, bool *top) {
    *top = false;
    for (;;) {
        mtws__json_space(j);
        if (j->depth == 0) return j->at == j->end ? 0 : -1;
        if (mtws__json_take(j, mtws__json_in_object(j) ? '}' : ']')) {
            j->depth--;
            opened = false;
            continue;
        }
        if (!opened && !mtws__json_take(j, ',')) return -1;
        mtws__json_space(j);
        if (!mtws__json_in_object(j)) return 1;
        if (!mtws__json_string(j, key)) return -1;
        mtws__json_space(j);
        if (!mtws__json_take(j, ':')) return -1;
        mtws__json_space(j);
        *top = j->depth == 1;
        return 1;
    }
}

/* The value of the top-level object's member called name, as written: a string with its quotes. Of
 * two such members the last counts, as it does for most parsers. False: there is none, or the text
 * is not JSON. */
MTWS_PRIVATE bool mtws__json_member(mtws__span text, const char *name, mtws__span *value) {
    mtws__json j;
    mtws__span key = {NULL, 0};
    bool found = false, opened, top;
    memset(&j, 0, sizeof j);
    j.at = text.data;
    j.end = text.data + text.size;
    mtws__json_space(&j);
    if (j.at == j.end || *j.at != '{') return false;
    mtws__json_scalar(&j, &opened);
    for (;;) {
        int next = mtws__json_between(&j, opened, &key, &top);
        if (next <= 0) return next == 0 && found;
        const uint8_t *begin = j.at;
        if (!mtws__json_scalar(&j, &opened)) return false;
        if (!top || !mtws__json_is(key, name)) continue;
        found = !opened; /* a container is no answer to any question that is asked here */
        value->data = begin;
        value->size = (size_t)(j.at - begin);
    }
}

/* Whether that member is a string, and this one. */
MTWS_PRIVATE bool mtws__json_string_is(mtws__span value, const char *text) {
    if (value.size < 2 || value.data[0] != '"') return false;
    value.data++;
    value.size -= 2;
    return mtws__json_is(value, text);
}

/* ==========================================================================
 * >>random                                    RFC 8439 section 2.3
 * uses: bytes
 * ChaCha20 as a generator: masking keys must not be guessed (RFC 6455 section 10.3), and a system
 * call a frame would cost more than the frame. Seeded anew for each connection, so that after
 * fork() two processes do not draw the same keys. Pure: the seed comes in.
 */

typedef struct mtws__random {
    uint32_t input[16]; /* constants, key, counter, nonce */
    uint8_t block[64];
    size_t used; /* bytes of block already handed out */
} mtws__random;

MTWS_PRIVATE void mtws__random_seed(mtws__random *r, const uint8_t seed[32]) {
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memset(r, 0, sizeof *r);
    for (int i = 0; i < 4; i++) r->input[i] = constants[i];
    for (int i = 0; i < 8; i++) r->input[4 + i] = mtws__load_little32(seed + 4 * i);
    r->used = sizeof r->block;
}

MTWS_PRIVATE void mtws__random_quarter(uint32_t *x, int a, int b, int c, int d) {
    x[a] += x[b];
    x[d] = (x[d] ^ x[a]) << 16 | (x[d] ^ x[a]) >> 16;
    x[c] += x[d];
    x[b] = (x[b] ^ x[c]) << 12 | (x[b] ^ x[c]) >> 20;
    x[a] += x[b];
    x[d] = (x[d] ^ x[a]) << 8 | (x[d] ^ x[a]) >> 24;
    x[c] += x[d];
    x[b] = (x[b] ^ x[c]) << 7 | (x[b] ^ x[c]) >> 25;
}

MTWS_PRIVATE void mtws__random_block(mtws__random *r) {
    uint32_t x[16];
    memcpy(x, r->input, sizeof x);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 4; k++) mtws__random_quarter(x, k, 4 + k, 8 + k, 12 + k);
        for (int k = 0; k < 4; k++) {
            mtws__random_quarter(x, k, 4 + (k + 1) % 4, 8 + (k + 2) % 4, 12 + (k + 3) % 4);
        }
    }
    for (int i = 0; i < 16; i++) mtws__store_little32(r->block + 4 * i, x[i] + r->input[i]);
    if (++r->input[12] == 0) r->input[13]++;
    r->used = 0;
}

MTWS_PRIVATE void mtws__random_fill(mtws__random *r, void *out, size_t size) {
    uint8_t *to = (uint8_t *)out;
    while (size > 0) {
        if (r->used == sizeof r->block) mtws__random_block(r);
        size_t part = mtws__min_size(size, sizeof r->block - r->used);
        memcpy(to, r->block + r->used, part);
        r->used += part;
        to += part;
        size -= part;
    }
}

/* Even over [low, high]. The modulo's bias, below 2^-31 for any delay, does not matter here. */
MTWS_PRIVATE uint64_t mtws__random_between(mtws__random *r, uint64_t low, uint64_t high) {
    if (high <= low) return low;
    MTWS_ASSERT(high - low < UINT64_MAX);
    uint8_t bytes[8];
    mtws__random_fill(r, bytes, sizeof bytes);
    return low + mtws__load_big(bytes, 8) % (high - low + 1);
}

/* ==========================================================================
 * >>url                                       RFC 3986, RFC 6455 section 3
 * uses: bytes
 * ws and wss URLs, taken apart where they lie; references to others; IP literals. Pure.
 */

typedef struct mtws__url {
    bool tls;
    bool literal6;       /* the host is an IPv6 literal, without its brackets here */
    mtws__span userinfo; /* as written, still percent-encoded; data is NULL where there is none */
    mtws__span host;
    uint16_t port;
    mtws__span path;   /* begins with '/' or is empty */
    mtws__span query;  /* without '?'; data is NULL where there is none */
    const char *wrong; /* of a text that is no URL: what of it, for people */
} mtws__url;

enum { MTWS__HOST_MAX = 253 }; /* RFC 1035 section 2.3.4, less the root's length byte and dot */

MTWS_PRIVATE bool mtws__url_unreserved(char c) {
    return mtws__is_alpha(c) || mtws__is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* True where every byte is unreserved, a whole percent escape, a sub-delimiter or one of `more`. */
MTWS_PRIVATE bool mtws__url_clean(mtws__span span, const char *more) {
    for (size_t i = 0; i < span.size; i++) {
        char c = (char)span.data[i];
        if (c == '%') {
            if (span.size - i < 3 || !mtws__is_hex((char)span.data[i + 1]) ||
                !mtws__is_hex((char)span.data[i + 2]))
                return false;
            i += 2;
        } else if (c == 0 ||
                   (!mtws__url_unreserved(c) && !strchr("!$&'()*+,;=", c) && !strchr(more, c))) {
            return false;
        }
    }
    return true;
}

/* Cuts the span before the first of `stops` (or at its end) and returns what was before. */
MTWS_PRIVATE mtws__span mtws__url_cut(mtws__span *rest, const char *stops) {
    mtws__span head = *rest;
    head.size = 0;
    while (head.size < rest->size) {
        char c = (char)rest->data[head.size];
        if (c != 0 && strchr(stops, c)) break;
        head.size++;
    }
    if (head.size > 0) rest->data += head.size; /* what is empty may be nowhere */
    rest->size -= head.size;
    return head;
}

/* Four numbers and dots, without leading zeros, which some take for octal. */
MTWS_PRIVATE bool mtws__url_ip4(mtws__span text, uint8_t out[4]) {
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t value = 0;
        size_t first = at;
        while (at < text.size && at - first < 3 && mtws__is_digit((char)text.data[at])) {
            value = value * 10 + (uint32_t)(text.data[at++] - '0');
        }
        if (at == first || value > 255 || (at - first > 1 && text.data[first] == '0')) return false;
        out[i] = (uint8_t)value;
        if (i < 3 && (at == text.size || text.data[at++] != '.')) return false;
    }
    return at == text.size;
}

/* Two bytes of an IPv6 literal: one to four hexadecimal digits. */
MTWS_PRIVATE bool mtws__url_ip6_group(mtws__span text, uint8_t *out) {
    if (text.size == 0 || text.size > 4) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!mtws__is_hex((char)text.data[i])) return false;
    }
    mtws__store_big(out, 2, mtws__hex(text.data, text.size));
    return true;
}

/* The bytes of an IP literal (RFC 4291 section 2.2), without brackets: 4 or 16, or 0 where the text
 * is none. */
MTWS_PRIVATE size_t mtws__url_address(mtws__span text, uint8_t out[16]) {
    uint8_t bytes[16];
    size_t count = 0, gap = SIZE_MAX; /* where "::" stands; none yet */
    if (mtws__url_ip4(text, out)) return 4;
    if (text.size >= 2 && memcmp(text.data, "::", 2) == 0) {
        gap = 0;
        text.data += 2;
        text.size -= 2;
    }
    while (text.size > 0 && count < sizeof bytes) {
        mtws__span group = mtws__url_cut(&text, ":");
        if (text.size == 0 && count <= 12 && mtws__url_ip4(group, bytes + count)) {
            count += 4;
            break;
        }
        if (!mtws__url_ip6_group(group, bytes + count)) return 0;
        count += 2;
        if (text.size == 0) break;
        if (text.size == 1) return 0; /* a colon at the end */
        bool twice = text.data[1] == ':';
        if (twice && gap != SIZE_MAX) return 0;
        if (twice) gap = count;
        text.data += twice ? 2 : 1;
        text.size -= twice ? 2 : 1;
    }
    bool whole = gap == SIZE_MAX ? count == sizeof bytes : count < sizeof bytes;
    if (text.size > 0 || !whole) return 0;
    memset(out, 0, sizeof bytes);
    size_t behind = count - mtws__min_size(gap, count);
    memcpy(out, bytes, count - behind);
    memcpy(out + sizeof bytes - behind, bytes + count - behind, behind);
    return sizeof bytes;
}

MTWS_PRIVATE bool mtws__url_host(mtws__url *url, mtws__span *rest) {
    url->literal6 = rest->size > 0 && rest->data[0] == '[';
    if (url->literal6) {
        rest->data++;
        rest->size--;
        url->host = mtws__url_cut(rest, "]");
        if (rest->size == 0) return false;
        rest->data++;
        rest->size--;
        uint8_t address[16];
        return mtws__url_address(url->host, address) == sizeof address;
    }
    url->host = mtws__url_cut(rest, ":");
    for (size_t i = 0; i < url->host.size; i++) {
        char c = (char)url->host.data[i];
        if (!mtws__is_alpha(c) && !mtws__is_digit(c) && c != '-' && c != '.' && c != '_') {
            return false;
        }
    }
    return url->host.size > 0 && url->host.size <= MTWS__HOST_MAX;
}

/* A number of one to five digits at most `limit`, or -1. */
MTWS_PRIVATE int32_t mtws__url_number(mtws__span text, int32_t limit) {
    int32_t value = 0;
    if (text.size == 0 || text.size > 5) return -1;
    for (size_t i = 0; i < text.size; i++) {
        if (!mtws__is_digit((char)text.data[i])) return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value <= limit ? value : -1;
}

/* url->port comes as the scheme's. */
MTWS_PRIVATE bool mtws__url_port(mtws__url *url, mtws__span rest) {
    if (rest.size == 0) return true;
    if (rest.data[0] != ':') return false;
    if (rest.size == 1) return true; /* RFC 3986 section 3.2.3: an empty port is the default */
    rest.data++;
    rest.size--;
    int32_t port = mtws__url_number(rest, 65535);
    if (port > 0) url->port = (uint16_t)port;
    return port > 0;
}

/* Takes "://[userinfo@]host[:port]" off the text. */
MTWS_PRIVATE bool mtws__url_authority(mtws__url *url, mtws__span *text) {
    url->wrong = "\"://\" does not follow the scheme";
    if (text->size < 3 || memcmp(text->data, "://", 3) != 0) return false;
    text->data += 3;
    text->size -= 3;
    mtws__span authority = mtws__url_cut(text, "/?#");
    mtws__span user = authority;
    mtws__span before_at = mtws__url_cut(&user, "@");
    if (user.size > 0) {
        url->userinfo = before_at;
        url->wrong = "a character in user or password must be percent-encoded";
        if (!mtws__url_clean(url->userinfo, ":")) return false;
        authority.data = user.data + 1;
        authority.size = user.size - 1;
    }
    url->wrong = "the host is empty, too long, has a character that no host has, or is no IPv6 "
                 "address in brackets";
    if (!mtws__url_host(url, &authority)) return false;
    url->wrong = "the port is no number from 1 to 65535";
    return mtws__url_port(url, authority);
}

/* False where the text is no ws or wss URL; a fragment is refused too (RFC 6455 section 3). */
MTWS_PRIVATE bool mtws__url_parse(mtws__url *url, mtws__span text) {
    memset(url, 0, sizeof *url);
    mtws__span scheme = mtws__url_cut(&text, ":");
    url->tls = mtws__span_is(scheme, "wss");
    url->wrong = "it does not begin with ws:// or wss://";
    if (!url->tls && !mtws__span_is(scheme, "ws")) return false;
    url->port = url->tls ? 443 : 80;
    if (!mtws__url_authority(url, &text)) return false;
    url->path = mtws__url_cut(&text, "?#");
    if (text.size > 0 && text.data[0] == '?') {
        text.data++;
        text.size--;
        url->query = mtws__url_cut(&text, "#");
    }
    url->wrong = "it has a fragment (#)";
    if (text.size > 0) return false;
    url->wrong = "a character in the path must be percent-encoded";
    if (!mtws__url_clean(url->path, ":@/")) return false;
    url->wrong = "a character in the query must be percent-encoded, as params are by mtws_connect";
    return mtws__url_clean(url->query, ":@/?");
}

/* RFC 3986 section 2.1: everything but unreserved characters becomes a percent escape. */
MTWS_PRIVATE void mtws__url_encode(mtws__writer *w, const char *text) {
    static const char digits[] = "0123456789ABCDEF";
    for (; *text != 0; text++) {
        uint8_t byte = (uint8_t)*text;
        char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};
        if (mtws__url_unreserved(*text)) mtws__writer_put(w, text, 1);
        else mtws__writer_put(w, escape, 3);
    }
}

/* Percent escapes become bytes. False where one becomes a control character. */
MTWS_PRIVATE bool mtws__url_decode(mtws__writer *w, mtws__span span) {
    for (size_t i = 0; i < span.size; i++) {
        char c = (char)span.data[i];
        if (c == '%') {
            c = (char)mtws__hex(span.data + i + 1, 2);
            i += 2;
        }
        if ((uint8_t)c < 0x20 || c == 0x7f) return false;
        mtws__writer_put(w, &c, 1);
    }
    return true;
}

/* Whether the host is the domain, or a name under it. */
MTWS_PRIVATE bool mtws__url_is_under(mtws__span host, mtws__span domain) {
    if (domain.size == 0 || domain.size > host.size) return false;
    size_t before = host.size - domain.size;
    for (size_t i = 0; i < domain.size; i++) {
        if (mtws__lower((char)domain.data[i]) != mtws__lower((char)host.data[before + i])) {
            return false;
        }
    }
    return before == 0 || host.data[before - 1] == '.';
}

/* "host", or "host:port" with brackets around an IPv6 literal. */
MTWS_PRIVATE void mtws__url_put_host(mtws__writer *w, const mtws__url *url, bool port) {
    if (url->literal6) mtws__writer_text(w, "[");
    mtws__writer_put(w, url->host.data, url->host.size);
    if (url->literal6) mtws__writer_text(w, "]");
    if (!port) return;
    mtws__writer_text(w, ":");
    mtws__writer_number(w, url->port);
}

/* Path and query, as a request line has them. */
MTWS_PRIVATE void mtws__url_put_target(mtws__writer *w, const mtws__url *url) {
    if (url->path.size == 0) mtws__writer_text(w, "/");
    mtws__writer_put(w, url->path.data, url->path.size);
    if (url->query.data == NULL) return;
    mtws__writer_text(w, "?");
    mtws__writer_put(w, url->query.data, url->query.size);
}

/* Takes the segments "." and ".." out of a path that begins with '/' (RFC 3986 section 5.2.4). */
MTWS_PRIVATE size_t mtws__url_remove_dots(char *path, size_t size) {
    size_t out = 0;
    for (size_t at = 0, end; at < size; at = end) {
        end = at + 1;
        while (end < size && path[end] != '/') end++;
        bool one = end - at == 2 && path[at + 1] == '.';
        bool two = end - at == 3 && path[at + 1] == '.' && path[at + 2] == '.';
        if (two) {
            while (out > 0 && path[--out] != '/') continue;
        }
        if (!one && !two) {
            memmove(path + out, path + at, end - at);
            out += end - at;
        } else if (end == size) {
            path[out++] = '/';
        }
    }
    return out;
}

/* Writes the ws or wss URL that a Location of base's stands for: RFC 3986 section 5.2, http and
 * https taken for ws and wss, its fragment left away. False where it can be none; what is written
 * is to be parsed all the same. */
MTWS_PRIVATE bool mtws__url_resolve(mtws__writer *w, const mtws__url *base, mtws__span location) {
    mtws__span text = mtws__url_cut(&location, "#"), rest = text;
    mtws__span scheme = mtws__url_cut(&rest, ":/?");
    bool absolute = rest.size > 0 && rest.data[0] == ':', tls = base->tls;
    if (absolute) {
        tls = mtws__span_is(scheme, "wss") || mtws__span_is(scheme, "https");
        if (!tls && !mtws__span_is(scheme, "ws") && !mtws__span_is(scheme, "http")) return false;
        text.data = rest.data + 1;
        text.size = rest.size - 1;
    }
    bool authority = text.size >= 2 && memcmp(text.data, "//", 2) == 0;
    if (absolute && !authority) return false;
    mtws__writer_text(w, tls ? "wss:" : "ws:");
    if (authority) {
        mtws__writer_text(w, "//");
        text.data += 2;
        text.size -= 2;
        mtws__span host = mtws__url_cut(&text, "/?");
        mtws__writer_put(w, host.data, host.size);
    } else {
        mtws__writer_text(w, "//");
        mtws__url_put_host(w, base, true);
    }
    size_t start = w->size;
    mtws__span path = mtws__url_cut(&text, "?"), folder = base->path;
    if (!authority && path.size == 0) {
        mtws__writer_put(w, base->path.data, base->path.size);
        if (text.size == 0 && base->query.data != NULL) {
            mtws__writer_text(w, "?");
            mtws__writer_put(w, base->query.data, base->query.size);
        }
    } else {
        if (!authority && path.data[0] != '/') {
            while (folder.size > 0 && folder.data[folder.size - 1] != '/') folder.size--;
            if (folder.size == 0) mtws__writer_text(w, "/");
            mtws__writer_put(w, folder.data, folder.size);
        }
        mtws__writer_put(w, path.data, path.size);
        if (w->full) return false;
        w->size = start + mtws__url_remove_dots(w->data + start, w->size - start);
        w->data[w->size] = 0;
    }
    mtws__writer_put(w, text.data, text.size);
    return !w->full;
}

/* ==========================================================================
 * >>http                                      RFC 9112
 * uses: bytes
 * The head of an answer: strict, linear, bounded. Each byte is looked at once as it arrives and
 * once when its line is whole. Fields are kept as "name\0value\0". Pure.
 */

enum {
    MTWS__HTTP_FIELDS_MAX = 128,
    MTWS__HTTP_MORE = 0,
    MTWS__HTTP_DONE = 1,
    MTWS__HTTP_BAD = -1,    /* not HTTP, or a form of it that is used to smuggle */
    MTWS__HTTP_TOO_BIG = -2 /* more than the text has room for, or too many fields */
};

typedef struct mtws__http {
    char *text; /* the fields so far, then the line that is arriving */
    size_t capacity;
    size_t fields_size;
    size_t line_size;
    size_t total; /* bytes fed, against the same limit as the text */
    int fields_count;
    uint16_t status; /* 0: the status line has not arrived */
    bool old;        /* HTTP/1.0 */
    bool after_cr;
} mtws__http;

MTWS_PRIVATE void mtws__http_start(mtws__http *h, char *text, size_t capacity) {
    memset(h, 0, sizeof *h);
    h->text = text;
    h->capacity = capacity;
}

/* RFC 9110 section 5.6.2 */
MTWS_PRIVATE bool mtws__http_is_token(mtws__span span) {
    for (size_t i = 0; i < span.size; i++) {
        char c = (char)span.data[i];
        if (c == 0 || (!mtws__is_alpha(c) && !mtws__is_digit(c) && !strchr("!#$%&'*+-.^_`|~", c))) {
            return false;
        }
    }
    return span.size > 0;
}

/* RFC 9110 section 5.5: visible characters, spaces, tabs and bytes from 0x80. */
MTWS_PRIVATE bool mtws__http_is_value(mtws__span span) {
    for (size_t i = 0; i < span.size; i++) {
        uint8_t c = span.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

MTWS_PRIVATE mtws__span mtws__http_trim(mtws__span span) {
    while (span.size > 0 && (span.data[0] == ' ' || span.data[0] == '\t')) {
        span.data++;
        span.size--;
    }
    while (span.size > 0 && (span.data[span.size - 1] == ' ' || span.data[span.size - 1] == '\t'))
        span.size--;
    return span;
}

MTWS_PRIVATE bool mtws__http_status_line(mtws__http *h, mtws__span line) {
    if (line.size < 12 || memcmp(line.data, "HTTP/1.", 7) != 0 || line.data[8] != ' ') return false;
    if (line.data[7] != '0' && line.data[7] != '1') return false;
    if (line.size > 12 && line.data[12] != ' ') return false;
    for (size_t i = 9; i < 12; i++) {
        if (!mtws__is_digit((char)line.data[i])) return false;
        h->status = (uint16_t)(h->status * 10 + (line.data[i] - '0'));
    }
    h->old = line.data[7] == '0';
    return h->status >= 100 && h->status <= 599 && mtws__http_is_value(line);
}

/* The line lies at the end of the kept fields and becomes one of them in place. */
MTWS_PRIVATE int mtws__http_field_line(mtws__http *h, mtws__span line) {
    size_t name_size = 0;
    while (name_size < line.size && line.data[name_size] != ':') name_size++;
    mtws__span name = line;
    name.size = name_size;
    if (name_size == line.size || !mtws__http_is_token(name)) return MTWS__HTTP_BAD;
    mtws__span value;
    value.data = line.data + name_size + 1;
    value.size = line.size - name_size - 1;
    value = mtws__http_trim(value);
    if (!mtws__http_is_value(value)) return MTWS__HTTP_BAD;
    if (++h->fields_count > MTWS__HTTP_FIELDS_MAX) return MTWS__HTTP_TOO_BIG;
    char *to = h->text + h->fields_size + name_size;
    *to++ = 0;
    if (value.size > 0) memmove(to, value.data, value.size);
    to[value.size] = 0;
    h->fields_size += name_size + value.size + 2;
    return MTWS__HTTP_MORE;
}

MTWS_PRIVATE int mtws__http_line(mtws__http *h) {
    mtws__span line;
    line.data = (const uint8_t *)h->text + h->fields_size;
    line.size = h->line_size;
    h->line_size = 0;
    if (h->status == 0) return mtws__http_status_line(h, line) ? MTWS__HTTP_MORE : MTWS__HTTP_BAD;
    if (line.size == 0) return MTWS__HTTP_DONE;
    return mtws__http_field_line(h, line);
}

/* *used says how much was taken: all, or up to the empty line that ends the head. */
MTWS_PRIVATE int mtws__http_feed(mtws__http *h, const uint8_t *data, size_t size, size_t *used) {
    for (size_t i = 0; i < size; i++) {
        char c = (char)data[i];
        *used = i + 1;
        if (++h->total > h->capacity) return MTWS__HTTP_TOO_BIG;
        if (h->after_cr) {
            if (c != '\n') return MTWS__HTTP_BAD;
            h->after_cr = false;
            int result = mtws__http_line(h);
            if (result != MTWS__HTTP_MORE) return result;
        } else if (c == '\r') {
            h->after_cr = true;
        } else if (c == '\n' || c == 0) {
            return MTWS__HTTP_BAD;
        } else {
            /* A head that is not HTTP is refused at its first byte, not at a line's end that may
             * never come. */
            if (h->status == 0 && h->line_size < 5 && c != "HTTP/"[h->line_size]) {
                return MTWS__HTTP_BAD;
            }
            if (h->line_size == 0 && h->status != 0 && (c == ' ' || c == '\t')) {
                return MTWS__HTTP_BAD; /* RFC 9112 section 5.2: obsolete folding */
            }
            h->text[h->fields_size + h->line_size++] = c;
        }
    }
    *used = size;
    return MTWS__HTTP_MORE;
}

/* The next field called name (any, where name is NULL) from *at on; NULL at the end. *at is moved
 * past it. */
MTWS_PRIVATE const char *mtws__http_next(const mtws__http *h, size_t *at, const char *name) {
    while (*at < h->fields_size) {
        const char *field = h->text + *at;
        const char *value = field + strlen(field) + 1;
        *at += (size_t)(value - field) + strlen(value) + 1;
        if (name == NULL || mtws__span_is(mtws__span_of(field), name)) return value;
    }
    return NULL;
}

/* The only field called name: NULL where it is absent, and *twice set where it stands twice. */
MTWS_PRIVATE const char *mtws__http_only(const mtws__http *h, const char *name, bool *twice) {
    size_t at = 0;
    const char *value = mtws__http_next(h, &at, name);
    if (value != NULL && mtws__http_next(h, &at, name) != NULL) *twice = true;
    return value;
}

/* Whether the comma-separated fields called name, taken together, hold the token. */
MTWS_PRIVATE bool mtws__http_has_token(const mtws__http *h, const char *name, const char *token) {
    size_t at = 0;
    const char *value;
    while ((value = mtws__http_next(h, &at, name)) != NULL) {
        mtws__span rest = mtws__span_of(value);
        while (rest.size > 0) {
            mtws__span item = rest;
            item.size = 0;
            while (item.size < rest.size && rest.data[item.size] != ',') item.size++;
            if (mtws__span_is(mtws__http_trim(item), token)) return true;
            size_t passed = mtws__min_size(item.size + 1, rest.size);
            rest.data += passed;
            rest.size -= passed;
        }
    }
    return false;
}

/* Several Content-Length fields that disagree, or one that is no number (RFC 9112 section 6.3). */
MTWS_PRIVATE bool mtws__http_length_conflict(const mtws__http *h) {
    size_t at = 0;
    const char *first = mtws__http_next(h, &at, "Content-Length");
    if (first == NULL) return false;
    for (const char *c = first; *c != 0; c++) {
        if (!mtws__is_digit(*c)) return true;
    }
    const char *other;
    while ((other = mtws__http_next(h, &at, "Content-Length")) != NULL) {
        if (strcmp(first, other) != 0) return true;
    }
    return first[0] == 0;
}

/* Two digits at text, or -1. */
MTWS_PRIVATE int mtws__http_two_digits(const char *text) {
    if (!mtws__is_digit(text[0]) || !mtws__is_digit(text[1])) return -1;
    return (text[0] - '0') * 10 + (text[1] - '0');
}

/* Days since 1970 by the civil calendar, counted from March so that leap days come last. */
MTWS_PRIVATE int64_t mtws__http_days(int64_t year, int64_t month, int64_t day) {
    int64_t y = year - (month < 2 ? 1 : 0);
    int64_t m = (month + 10) % 12;
    return 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468;
}

/* The three forms of RFC 9110 section 5.6.7 as seconds since 1970, or -1:
 *     Sun, 06 Nov 1994 08:49:37 GMT
 *     Sunday, 06-Nov-94 08:49:37 GMT
 *     Sun Nov  6 08:49:37 1994 */
MTWS_PRIVATE int64_t mtws__http_date(const char *text) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    size_t size = strlen(text), comma = strcspn(text, ",");
    const char *day_text, *month_text, *time;
    int century, year;
    if (size == 29 && strcmp(text + 25, " GMT") == 0) {
        day_text = text + 5, month_text = text + 8, time = text + 17;
        century = mtws__http_two_digits(text + 12), year = mtws__http_two_digits(text + 14);
    } else if (size == comma + 24 && strcmp(text + size - 4, " GMT") == 0) {
        day_text = text + comma + 2, month_text = day_text + 3, time = day_text + 10;
        year = mtws__http_two_digits(day_text + 7);
        century = year < 70 ? 20 : 19;
    } else if (size == 24 && comma == 24) {
        day_text = text + 8, month_text = text + 4, time = text + 11;
        century = mtws__http_two_digits(text + 20), year = mtws__http_two_digits(text + 22);
    } else {
        return -1;
    }
    char two[2] = {day_text[0] == ' ' ? '0' : day_text[0], day_text[1]};
    int day = mtws__http_two_digits(two), month = 0;
    while (month < 12 && memcmp(months + 3 * month, month_text, 3) != 0) month++;
    int hour = mtws__http_two_digits(time), minute = mtws__http_two_digits(time + 3);
    int second = mtws__http_two_digits(time + 6);
    if (month == 12 || day < 1 || day > 31 || century < 19 || year < 0 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60) {
        return -1;
    }
    int64_t days = mtws__http_days((int64_t)century * 100 + year, month, day);
    return days * 86400 + hour * 3600 + minute * 60 + second;
}

/* Retry-After (RFC 9110 section 10.2.3), seconds or a date, as milliseconds from now; 0 where it is
 * absent or makes no sense. */
MTWS_PRIVATE uint64_t mtws__http_retry_after_ms(const mtws__http *h, uint64_t unix_ms) {
    size_t at = 0;
    const char *value = mtws__http_next(h, &at, "Retry-After");
    if (value == NULL || value[0] == 0) return 0;
    if (!mtws__is_digit(value[0])) {
        /* The server's own clock, where it says the time: ours may be wrong by years. */
        int64_t date = mtws__http_date(value);
        size_t from = 0;
        const char *now = mtws__http_next(h, &from, "Date");
        int64_t now_date = now == NULL ? -1 : mtws__http_date(now);
        if (now_date >= 0) unix_ms = (uint64_t)now_date * 1000;
        uint64_t date_ms = date < 0 ? 0 : (uint64_t)date * 1000;
        return date_ms > unix_ms ? date_ms - unix_ms : 0;
    }
    uint64_t seconds = 0;
    for (; *value != 0; value++) {
        if (!mtws__is_digit(*value)) return 0;
        if (seconds < UINT64_C(1000000000)) seconds = seconds * 10 + (uint64_t)(*value - '0');
    }
    return seconds * 1000;
}

/* ==========================================================================
 * >>handshake                                 RFC 6455 section 4
 * uses: bytes, sha1, base64, http
 * The upgrade request and what the answer must say. Pure.
 */

enum { MTWS__KEY_SIZE = 24 }; /* 16 bytes in base64 */

/* Whether a header of that name holds credentials. */
MTWS_PRIVATE bool mtws__handshake_secret(mtws__span name) {
    static const char *const parts[] = {"auth", "cookie", "token", "key", "secret", "session"};
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        mtws__span piece = name;
        piece.size = strlen(parts[k]);
        for (size_t i = 0; i + piece.size <= name.size; i++) {
            piece.data = name.data + i;
            if (mtws__span_is(piece, parts[k])) return true;
        }
    }
    return false;
}

typedef struct mtws__upgrade {
    const char *host_field;                      /* "name:port", brackets around an IPv6 literal */
    const char *target;                          /* path and query */
    const char *key;                             /* MTWS__KEY_SIZE characters */
    const char *subprotocols;                    /* as offered, "" for none */
    mtws__span headers;                          /* the user's, each with its line end */
    bool has_host, has_agent, has_authorization; /* among them */
    mtws__span userinfo;                         /* decoded; data NULL: none */
    bool foreign; /* another origin than the user's: credentials and Host are not for it */
} mtws__upgrade;

/* Appends the user's headers, as far as this origin may have them. */
MTWS_PRIVATE void mtws__handshake_headers(mtws__writer *w, const mtws__upgrade *u) {
    mtws__span rest = u->headers;
    while (rest.size > 0) {
        mtws__span name = rest, line = rest;
        const uint8_t *end = (const uint8_t *)memchr(rest.data, '\n', rest.size);
        const uint8_t *colon = (const uint8_t *)memchr(rest.data, ':', rest.size);
        MTWS_ASSERT(end != NULL && colon != NULL && colon < end);
        line.size = (size_t)(end - rest.data) + 1;
        name.size = (size_t)(colon - rest.data);
        bool kept = mtws__handshake_secret(name) || mtws__span_is(name, "Host");
        if (!u->foreign || !kept) mtws__writer_put(w, line.data, line.size);
        rest.data += line.size;
        rest.size -= line.size;
    }
}

MTWS_PRIVATE void mtws__handshake_request(mtws__writer *w, const mtws__upgrade *u) {
    mtws__writer_text(w, "GET ");
    mtws__writer_text(w, u->target);
    mtws__writer_text(w, " HTTP/1.1\r\n");
    if (!u->has_host || u->foreign) {
        mtws__writer_text(w, "Host: ");
        mtws__writer_text(w, u->host_field);
        mtws__writer_text(w, "\r\n");
    }
    mtws__writer_text(w, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
    mtws__writer_put(w, u->key, MTWS__KEY_SIZE);
    mtws__writer_text(w, "\r\nSec-WebSocket-Version: 13\r\n");
    if (u->subprotocols[0] != 0) {
        mtws__writer_text(w, "Sec-WebSocket-Protocol: ");
        mtws__writer_text(w, u->subprotocols);
        mtws__writer_text(w, "\r\n");
    }
    if (u->userinfo.data != NULL && !u->has_authorization && !u->foreign) {
        mtws__writer_text(w, "Authorization: Basic ");
        mtws__base64_encode(w, u->userinfo.data, u->userinfo.size);
        mtws__writer_text(w, "\r\n");
    }
    if (!u->has_agent) mtws__writer_text(w, "User-Agent: mtws/" MTWS__VERSION "\r\n");
    mtws__handshake_headers(w, u);
    mtws__writer_text(w, "\r\n");
}

/* RFC 6455 section 4.2.2, item 5.4. out: 28 characters and the terminator. */
MTWS_PRIVATE void mtws__handshake_accept(char out[29], const char *key) {
    char joined[MTWS__KEY_SIZE + 36];
    memcpy(joined, key, MTWS__KEY_SIZE);
    memcpy(joined + MTWS__KEY_SIZE, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    uint8_t digest[20];
    mtws__sha1(digest, joined, sizeof joined);
    mtws__writer w;
    mtws__writer_open(&w, out, 29);
    mtws__base64_encode(&w, digest, sizeof digest);
}

/* Whether value is one of the offered, compared with case (RFC 6455 section 4.1). */
MTWS_PRIVATE bool mtws__handshake_offered(const char *offered, const char *value) {
    size_t size = strlen(value);
    while (*offered != 0) {
        size_t span = strcspn(offered, ", ");
        if (span == size && memcmp(offered, value, size) == 0) return true;
        offered += span;
        offered += strspn(offered, ", ");
    }
    return false;
}

/* What is wrong with a 101, for people; NULL where it is what RFC 6455 section 4.1 asks for. */
MTWS_PRIVATE const char *mtws__handshake_check(const mtws__http *h, const char *key,
                                               const char *subprotocols) {
    bool twice = false;
    const char *upgrade = mtws__http_only(h, "Upgrade", &twice);
    if (h->old) return "the answer is HTTP/1.0, which knows no upgrade";
    if (upgrade == NULL || twice || !mtws__span_is(mtws__span_of(upgrade), "websocket")) {
        return "the answer's Upgrade header is not \"websocket\"";
    }
    if (!mtws__http_has_token(h, "Connection", "upgrade")) {
        return "the answer's Connection header does not say \"Upgrade\"";
    }
    char expected[29];
    mtws__handshake_accept(expected, key);
    const char *accept = mtws__http_only(h, "Sec-WebSocket-Accept", &twice);
    if (accept == NULL || twice || strcmp(accept, expected) != 0) {
        return "the answer's Sec-WebSocket-Accept is absent or wrong: no WebSocket server";
    }
    size_t at = 0;
    if (mtws__http_next(h, &at, "Sec-WebSocket-Extensions") != NULL) {
        return "the server chose an extension that was not offered";
    }
    const char *chosen = mtws__http_only(h, "Sec-WebSocket-Protocol", &twice);
    if (chosen != NULL && (twice || !mtws__handshake_offered(subprotocols, chosen))) {
        return "the server chose a subprotocol that was not offered";
    }
    return NULL;
}

/* Headers that are the handshake's own: the user may not set them. */
MTWS_PRIVATE bool mtws__handshake_reserved(mtws__span name) {
    if (name.size >= 14) {
        mtws__span front = name;
        front.size = 14;
        if (mtws__span_is(front, "Sec-WebSocket-")) return true;
    }
    return mtws__span_is(name, "Upgrade") || mtws__span_is(name, "Connection") ||
           mtws__span_is(name, "Content-Length") || mtws__span_is(name, "Transfer-Encoding");
}

/* "chat, superchat": tokens, none twice, parted by commas and spaces. "" offers none. */
MTWS_PRIVATE bool mtws__handshake_subprotocols_ok(const char *text) {
    const char *at = text;
    while (*at != 0) {
        mtws__span token;
        token.data = (const uint8_t *)at;
        token.size = strcspn(at, ", ");
        if (!mtws__http_is_token(token)) return false;
        for (const char *p = text; p < at;) {
            size_t span = strcspn(p, ", ");
            if (span == token.size && memcmp(p, at, span) == 0) return false;
            p += span;
            p += strspn(p, ", ");
        }
        at += token.size;
        size_t gap = strspn(at, ", ");
        size_t commas = 0;
        for (size_t i = 0; i < gap; i++) commas += at[i] == ',';
        if (gap > 0 && (commas != 1 || at[gap] == 0)) return false;
        at += gap;
    }
    return true;
}

/* ==========================================================================
 * >>frame                                     RFC 6455 section 5
 * uses: bytes
 * Headers and masking. Pure.
 */

enum {
    MTWS__CONTINUATION = 0,
    MTWS__CLOSE = 8,
    MTWS__PING = 9,
    MTWS__PONG = 10,
    MTWS__CONTROL_MAX = 125, /* payload of a control frame, section 5.5 */
    MTWS__FRAME_HEADER_MAX = 14
};

typedef struct mtws__frame {
    uint64_t size; /* of the payload */
    uint8_t opcode;
    uint8_t header_size; /* the masking key included */
    bool final;
    uint8_t key[4];    /* of a masked one */
    const char *wrong; /* of a server's that is not valid: why, for people */
} mtws__frame;

MTWS_PRIVATE size_t mtws__frame_header_size(uint64_t size) {
    return size < 126 ? 6 : size < 65536 ? 8 : 14;
}

/* A client's header, masking key included. Returns its size. */
MTWS_PRIVATE size_t mtws__frame_encode(uint8_t out[MTWS__FRAME_HEADER_MAX], uint8_t opcode,
                                       bool final, uint64_t size, const uint8_t key[4]) {
    out[0] = (uint8_t)(opcode | (final ? 0x80 : 0));
    size_t at = 2;
    if (size < 126) {
        out[1] = (uint8_t)(0x80 | size);
    } else if (size < 65536) {
        out[1] = 0x80 | 126;
        mtws__store_big(out + 2, 2, size);
        at = 4;
    } else {
        out[1] = 0x80 | 127;
        mtws__store_big(out + 2, 8, size);
        at = 10;
    }
    memcpy(out + at, key, 4);
    return at + 4;
}

MTWS_PRIVATE int mtws__frame_bad(mtws__frame *f, const char *wrong) {
    f->wrong = wrong;
    return -1;
}

/* Decodes the header at data, masked or not as is asked for. 0: more bytes are needed; 1: done;
 * -1: no valid header begins so. Wrong is told from the first byte that shows it. */
MTWS_PRIVATE int mtws__frame_decode(mtws__frame *f, const uint8_t *data, size_t size, bool masked) {
    if (size < 1) return 0;
    f->opcode = data[0] & 15;
    f->final = (data[0] & 0x80) != 0;
    if ((data[0] & 0x70) != 0) { /* section 5.2 */
        return mtws__frame_bad(f, "the server set a reserved bit of a frame: does it compress?");
    }
    if ((f->opcode > 2 && f->opcode < 8) || f->opcode > 10) {
        return mtws__frame_bad(f, "the server sent a frame with a reserved opcode");
    }
    if (f->opcode >= 8 && !f->final) { /* section 5.5 */
        return mtws__frame_bad(f, "the server sent a control frame in fragments");
    }
    if (size < 2) return 0;
    if (((data[1] & 0x80) != 0) != masked) { /* section 5.1 */
        return mtws__frame_bad(f, "the server sent a masked frame");
    }
    uint8_t length = data[1] & 0x7f;
    if (f->opcode >= 8 && length > MTWS__CONTROL_MAX) {
        return mtws__frame_bad(f, "the server sent a control frame of over 125 bytes");
    }
    size_t extended = length < 126 ? 0 : length == 126 ? 2 : 8;
    f->header_size = (uint8_t)(2 + extended + (masked ? 4 : 0));
    if (extended == 8 && size > 2 && (data[2] & 0x80) != 0) { /* section 5.2 */
        return mtws__frame_bad(f, "the server sent a frame of over 2^63 - 1 bytes");
    }
    if (size < f->header_size) return 0;
    f->size = extended == 0 ? length : mtws__load_big(data + 2, extended);
    if ((extended == 2 && f->size < 126) || (extended == 8 && f->size < 65536)) {
        return mtws__frame_bad(f, "the server wrote a frame's length in more bytes than needed");
    }
    if (masked) memcpy(f->key, data + 2 + extended, 4);
    return 1;
}

/* Section 5.3, while copying; `phase` is the place of data[0] in the payload. out may be data. */
MTWS_PRIVATE void mtws__frame_mask(uint8_t *out, const uint8_t *data, size_t size,
                                   const uint8_t key[4], uint64_t phase) {
    uint8_t wide[8];
    for (size_t i = 0; i < 8; i++) wide[i] = key[(phase + i) & 3];
    uint64_t word;
    memcpy(&word, wide, 8);
    size_t i = 0;
    for (; size - i >= 32; i += 32) {
        uint64_t a, b, c, d;
        memcpy(&a, data + i, 8);
        memcpy(&b, data + i + 8, 8);
        memcpy(&c, data + i + 16, 8);
        memcpy(&d, data + i + 24, 8);
        a ^= word;
        b ^= word;
        c ^= word;
        d ^= word;
        memcpy(out + i, &a, 8);
        memcpy(out + i + 8, &b, 8);
        memcpy(out + i + 16, &c, 8);
        memcpy(out + i + 24, &d, 8);
    }
    for (; size - i >= 8; i += 8) {
        uint64_t a;
        memcpy(&a, data + i, 8);
        a ^= word;
        memcpy(out + i, &a, 8);
    }
    for (; i < size; i++) out[i] = data[i] ^ wide[i & 7];
}

/* Whether a server (or a user) may send this close code: section 7.4 and its registry. */
MTWS_PRIVATE bool mtws__close_code_ok(uint32_t code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* ==========================================================================
 * >>message                                   RFC 6455 sections 5.4, 5.5, 8.1
 * uses: bytes, utf8, frame
 * Bytes in, messages and control frames out. One buffer: frames are parsed where they lie, a
 * message in one frame is handed over where it lies, fragments are moved together. Pure.
 */

enum {
    MTWS__READ_AHEAD = 16384, /* room beside the largest message: an answer's head, small frames */
    MTWS__READ_MIN = 4096     /* with less room than this, what is kept is moved to the front */
};

typedef enum mtws__input {
    MTWS__INPUT_MORE,    /* all that arrived is parsed */
    MTWS__INPUT_BUSY,    /* the budget of frames for one call is used up */
    MTWS__INPUT_MESSAGE, /* a message, or a part where parts are handed over */
    MTWS__INPUT_PING,
    MTWS__INPUT_PONG,
    MTWS__INPUT_CLOSE,
    MTWS__INPUT_BAD /* `result` and `text` say what the server did wrong */
} mtws__input;

typedef struct mtws__message {
    uint8_t *data;
    size_t capacity; /* one byte more is there, for the terminator */
    size_t max_size;
    bool stream;         /* hand over parts as they come ... */
    size_t small_size;   /* ... but texts of one frame, up to this size, whole */
    size_t begin;        /* where the message (or part) that is being put together begins */
    size_t size;         /* and how much of it is there */
    size_t parse;        /* the first byte not looked at */
    size_t end;          /* behind the last byte read */
    uint64_t frame_left; /* payload of the present data frame that is still to come */
    bool in_message;     /* between a message's first frame and its last byte */
    bool in_frame;       /* between a data frame's header and its last byte */
    bool final;          /* of the present data frame */
    bool later_part;     /* a part of this message was handed over before */
    bool handed;         /* the program holds a pointer to the message */
    bool kept;           /* a message is whole, but nobody wants it yet */
    uint8_t saved;       /* the byte that the terminator stands on */
    mtws_kind kind;
    mtws__utf8 utf8;
    /* What next() found: */
    mtws__span payload;
    bool first, last;
    mtws_result result;
    const char *text;
} mtws__message;

MTWS_PRIVATE void mtws__message_start(mtws__message *m, uint8_t *data, size_t max_size,
                                      bool stream) {
    memset(m, 0, sizeof *m);
    m->data = data;
    m->max_size = max_size;
    m->capacity = max_size + MTWS__READ_AHEAD;
    m->stream = stream;
    m->text = "";
}

/* Moves what is kept, the message so far and then what is not parsed, to the front. */
MTWS_PRIVATE void mtws__message_to_front(mtws__message *m) {
    MTWS_ASSERT(!m->handed);
    size_t kept = m->in_message ? m->size : 0;
    if (m->begin > 0 && kept > 0) memmove(m->data, m->data + m->begin, kept);
    m->begin = 0;
    size_t rest = m->end - m->parse;
    if (kept != m->parse && rest > 0) memmove(m->data + kept, m->data + m->parse, rest);
    m->parse = kept;
    m->end = kept + rest;
}

/* The room for the next read; 0: full, as long as what is in it is not taken. */
MTWS_PRIVATE size_t mtws__message_room(mtws__message *m, uint8_t **out) {
    if (m->parse == m->end) {
        if (!m->in_message) m->begin = m->size = 0;
        m->parse = m->end = m->begin + m->size;
    }
    size_t kept = (m->in_message ? m->size : 0) + (m->end - m->parse);
    size_t room = m->capacity - m->end;
    if (room == 0 || (room < MTWS__READ_MIN && kept < MTWS__READ_MIN)) mtws__message_to_front(m);
    *out = m->data + m->end;
    return m->capacity - m->end;
}

MTWS_PRIVATE void mtws__message_filled(mtws__message *m, size_t size) {
    MTWS_ASSERT(size <= m->capacity - m->end);
    m->end += size;
}

/* Throws away all that has arrived, and the message that is being put together. */
MTWS_PRIVATE void mtws__message_discard(mtws__message *m) {
    MTWS_ASSERT(!m->handed);
    m->in_message = m->in_frame = m->kept = false;
    m->begin = m->size = 0;
    m->parse = m->end;
}

/* The program is done with what was handed over. */
MTWS_PRIVATE void mtws__message_release(mtws__message *m) {
    if (!m->handed) return;
    m->data[m->begin + m->size] = m->saved;
    m->handed = false;
    m->in_message = !m->last;
    m->later_part = !m->last;
    m->begin = m->parse;
    m->size = 0;
}

MTWS_PRIVATE mtws__input mtws__message_bad(mtws__message *m, mtws_result result, const char *text) {
    m->result = result;
    m->text = text;
    return MTWS__INPUT_BAD;
}

MTWS_PRIVATE mtws__input mtws__message_hand(mtws__message *m, bool last) {
    m->handed = true;
    m->first = !m->later_part;
    m->last = last;
    m->payload.data = m->data + m->begin;
    m->payload.size = m->size;
    m->saved = m->data[m->begin + m->size];
    m->data[m->begin + m->size] = 0;
    return MTWS__INPUT_MESSAGE;
}

/* What was just handed over is not wanted yet: the next call finds it again. */
MTWS_PRIVATE void mtws__message_keep(mtws__message *m) {
    m->data[m->begin + m->size] = m->saved;
    m->handed = false;
    m->kept = true;
}

/* Takes what has arrived of the present data frame's payload. */
MTWS_PRIVATE mtws__input mtws__message_payload(mtws__message *m) {
    size_t size = (size_t)mtws__min_u64(m->frame_left, m->end - m->parse);
    uint8_t *place = m->data + m->begin + m->size;
    if (size > 0 && m->begin + m->size != m->parse) memmove(place, m->data + m->parse, size);
    m->parse += size;
    m->size += size;
    m->frame_left -= size;
    if (m->kind == MTWS_TEXT && !mtws__utf8_feed(&m->utf8, place, size)) {
        return mtws__message_bad(m, MTWS_ERR_UTF8, "the server sent text that is not UTF-8");
    }
    m->in_frame = m->frame_left > 0;
    if (m->in_frame || !m->final) {
        bool small = m->final && !m->later_part && m->kind == MTWS_TEXT &&
                     m->frame_left + m->size <= m->small_size;
        return m->stream && m->size > 0 && !small ? mtws__message_hand(m, false) : MTWS__INPUT_MORE;
    }
    if (m->kind == MTWS_TEXT && !mtws__utf8_whole(&m->utf8)) {
        return mtws__message_bad(m, MTWS_ERR_UTF8, "the server's text ends within a character");
    }
    return mtws__message_hand(m, true);
}

/* A data frame's header was read: may it come here, and is there room for it? */
MTWS_PRIVATE mtws__input mtws__message_data_frame(mtws__message *m, const mtws__frame *f) {
    if ((f->opcode == MTWS__CONTINUATION) != m->in_message) {
        return mtws__message_bad(m, MTWS_ERR_PROTOCOL,
                                 m->in_message ? "the server began a message within a message"
                                               : "the server continued a message that none began");
    }
    if (!m->stream && f->size > m->max_size - m->size) {
        return mtws__message_bad(m, MTWS_ERR_TOO_BIG,
                                 "the server's message is larger than options.max_message_size");
    }
    m->parse += f->header_size;
    if (!m->in_message) {
        m->in_message = true;
        m->kind = (mtws_kind)f->opcode;
        m->later_part = false;
        mtws__utf8_start(&m->utf8);
    }
    if (m->size == 0) m->begin = m->parse;
    if (!m->stream && f->size > m->capacity - m->begin - m->size) mtws__message_to_front(m);
    m->in_frame = true;
    m->final = f->final;
    m->frame_left = f->size;
    return MTWS__INPUT_MORE;
}

MTWS_PRIVATE mtws__input mtws__message_control(mtws__message *m, const mtws__frame *f) {
    if (m->end - m->parse - f->header_size < f->size) return MTWS__INPUT_MORE;
    m->payload.data = m->data + m->parse + f->header_size;
    m->payload.size = (size_t)f->size;
    m->parse += f->header_size + (size_t)f->size;
    if (f->opcode == MTWS__PING) return MTWS__INPUT_PING;
    return f->opcode == MTWS__PONG ? MTWS__INPUT_PONG : MTWS__INPUT_CLOSE;
}

/* The next thing in what has arrived. *budget counts down with each frame. The payload of a control
 * frame is valid until the next call, that of a message until it is released. */
MTWS_PRIVATE mtws__input mtws__message_next(mtws__message *m, int *budget) {
    MTWS_ASSERT(!m->handed);
    if (m->kept) {
        m->kept = false;
        return mtws__message_hand(m, m->last);
    }
    for (;;) {
        if (m->in_frame) {
            mtws__input input = mtws__message_payload(m);
            if (input != MTWS__INPUT_MORE || m->in_frame) return input;
        }
        if (*budget <= 0) return MTWS__INPUT_BUSY;
        mtws__frame f;
        int decoded = mtws__frame_decode(&f, m->data + m->parse, m->end - m->parse, false);
        if (decoded == 0) return MTWS__INPUT_MORE;
        if (decoded < 0) return mtws__message_bad(m, MTWS_ERR_PROTOCOL, f.wrong);
        --*budget;
        if (f.opcode >= 8) return mtws__message_control(m, &f);
        mtws__input input = mtws__message_data_frame(m, &f);
        if (input == MTWS__INPUT_BAD) return input;
    }
}

/* Checks a Close frame's body (section 5.5.1). *code is 1005 where there is none. */
MTWS_PRIVATE mtws_result mtws__message_close(mtws__span body, uint16_t *code, mtws__span *reason) {
    *code = 1005;
    *reason = body;
    if (body.size == 0) return MTWS_OK;
    if (body.size == 1) return MTWS_ERR_PROTOCOL;
    *code = (uint16_t)mtws__load_big(body.data, 2);
    reason->data = body.data + 2;
    reason->size = body.size - 2;
    if (!mtws__close_code_ok(*code)) return MTWS_ERR_PROTOCOL;
    return mtws__utf8_valid(reason->data, reason->size) ? MTWS_OK : MTWS_ERR_UTF8;
}

/* ==========================================================================
 * >>queue                                     RFC 6455 sections 5.3, 5.4
 * uses: bytes, random, frame
 * Outgoing messages as wire bytes in a ring, and beside it an index of their fates. A message that
 * is kept for later connections stays until it is settled; one that is not ("transient") gives its
 * room back as it is written. Pure.
 *
 *     first           live            next             end        entries
 *       | not reported  | written, not  | not wholly     |
 *       | yet           | confirmed     | written        |
 *                    ring.head        cursor         ring.tail    bytes
 */

typedef enum mtws__fate {
    MTWS__WAITING,   /* not wholly written on the present connection */
    MTWS__WRITTEN,   /* wholly written, not confirmed */
    MTWS__DELIVERED, /* settled from here on */
    MTWS__DROPPED,
    MTWS__REPORTED /* settled, and its event handed over */
} mtws__fate;

typedef struct mtws__entry {
    uint64_t first_id, id; /* one, but for dropped entries that were joined */
    uint64_t start;        /* ring offset of its first byte */
    uint64_t deadline_us;  /* it expires then unless it is on the wire; UINT64_MAX: never */
    int16_t result;        /* of a dropped one */
    uint8_t fate;
    uint8_t flags;   /* of mtws_send */
    uint8_t left;    /* it has left whole at least once, on this connection or an earlier one */
    uint8_t strikes; /* connections that the server closed while it was alone in flight */
    uint8_t open;    /* parts are still to be added */
    uint8_t sure;    /* the program confirmed it while it was being written again */
} mtws__entry;

typedef struct mtws__queue {
    mtws__ring ring;
    mtws__entry *entries;
    size_t capacity;                 /* entries */
    bool transient;                  /* nothing is written twice: bytes are freed as they leave */
    uint64_t first, live, next, end; /* entry numbers, as drawn above */
    uint64_t cursor;                 /* the next byte to write */
    uint64_t offered;  /* bytes before this may be in the transport's hands, written or not */
    uint64_t boundary; /* a frame begins here: the last such place known at or before the cursor, */
                       /* or the end of the frame that the cursor is in */
    uint64_t fresh;    /* frames from here to `stale` have no masking key of this connection yet */
    uint64_t stale;
    size_t holes;      /* settled entries between next and end */
    size_t unreported; /* settled entries whose event was not handed over */
    uint64_t untimed;  /* entries before this one can't expire any more */
    uint64_t barrier;  /* a mark between entries, for the caller: it moves with them */
    uint64_t resent;   /* entries written again, for the statistics */
    struct {           /* dropped from the head, and already out of the index */
        uint64_t first_id, id;
        int16_t result;
        uint8_t left;
    } carry; /* id 0: none */
} mtws__queue;

typedef struct mtws__range {
    uint64_t first_id, id;
    mtws_result result; /* MTWS_OK: delivered */
    bool left;
} mtws__range;

MTWS_PRIVATE void mtws__queue_open(mtws__queue *q, uint8_t *bytes, size_t size,
                                   mtws__entry *entries, size_t capacity, bool transient) {
    memset(q, 0, sizeof *q);
    mtws__ring_open(&q->ring, bytes, size);
    q->entries = entries;
    q->capacity = capacity;
    q->transient = transient;
}

MTWS_PRIVATE mtws__entry *mtws__queue_entry(const mtws__queue *q, uint64_t number) {
    MTWS_ASSERT(number >= q->first && number < q->end);
    return q->entries + (size_t)(number % q->capacity);
}

/* The slot behind this one. */
MTWS_PRIVATE mtws__entry *mtws__queue_after(const mtws__queue *q, mtws__entry *e) {
    return (size_t)(e - q->entries) + 1 == q->capacity ? q->entries : e + 1;
}

/* Where the entry's bytes end, which is where the next one's begin. */
MTWS_PRIVATE uint64_t mtws__queue_entry_end(const mtws__queue *q, uint64_t number) {
    return number + 1 < q->end ? mtws__queue_entry(q, number + 1)->start : q->ring.tail;
}

/* Whether some of the entry's bytes may be on the wire of this connection. */
MTWS_PRIVATE bool mtws__queue_begun(const mtws__queue *q, uint64_t number) {
    return number < q->next || mtws__queue_entry(q, number)->start < q->offered;
}

/* The first entry that has not begun to leave. */
MTWS_PRIVATE uint64_t mtws__queue_untouched(const mtws__queue *q) {
    uint64_t number = q->next;
    while (number < q->end && mtws__queue_begun(q, number)) number++;
    return number;
}

MTWS_PRIVATE bool mtws__queue_mid_message(const mtws__queue *q) {
    return q->next < q->end && mtws__queue_begun(q, q->next);
}

/* What messages take of the ring as wire bytes; SIZE_MAX where that has no number. */
MTWS_PRIVATE size_t mtws__queue_wire_size(size_t size, size_t max_frame_size) {
    size_t frames = size == 0 ? 1 : size / max_frame_size + (size % max_frame_size != 0);
    size_t header = mtws__frame_header_size(mtws__min_size(size, max_frame_size));
    if (frames > (SIZE_MAX - size) / header) return SIZE_MAX;
    return size + frames * header;
}

MTWS_PRIVATE bool mtws__queue_fits(const mtws__queue *q, size_t wire_size) {
    return wire_size <= mtws__ring_free(&q->ring) && q->end - q->first < q->capacity;
}

/* Copies data to the tail as one frame, masked on the way. Without a generator the key is 0: the
 * frame waits for a connection, which masks it (see fresh). */
MTWS_PRIVATE void mtws__queue_frame(mtws__queue *q, uint8_t opcode, bool final, const uint8_t *data,
                                    size_t size, mtws__random *random) {
    uint8_t key[4] = {0, 0, 0, 0};
    uint8_t header[MTWS__FRAME_HEADER_MAX];
    if (random != NULL) mtws__random_fill(random, key, 4);
    size_t header_size = mtws__frame_encode(header, opcode, final, size, key);
    mtws__ring_store(&q->ring, q->ring.tail, header, header_size);
    uint64_t at = q->ring.tail + header_size;
    for (size_t done = 0; done < size;) {
        size_t part = size - done;
        uint8_t *to = mtws__ring_at(&q->ring, at + done, &part);
        mtws__frame_mask(to, data + done, part, key, done);
        done += part;
    }
    q->ring.tail = at + size;
}

/* Frames `size` bytes. The caller has checked that they fit. */
MTWS_PRIVATE void mtws__queue_frames(mtws__queue *q, uint8_t opcode, bool last, const uint8_t *data,
                                     size_t size, size_t max_frame_size, mtws__random *random) {
    size_t done = 0;
    do {
        size_t part = mtws__min_size(size - done, max_frame_size);
        bool final = last && part == size - done;
        mtws__queue_frame(q, done == 0 ? opcode : (uint8_t)MTWS__CONTINUATION, final, data + done,
                          part, random);
        done += part;
    } while (done < size);
}

/* Adds an entry at the tail; its frames follow. */
MTWS_PRIVATE mtws__entry *mtws__queue_append(mtws__queue *q, uint64_t id, unsigned flags,
                                             uint64_t deadline_us) {
    MTWS_ASSERT(q->end - q->first < q->capacity);
    q->end++;
    mtws__entry *entry = mtws__queue_entry(q, q->end - 1);
    memset(entry, 0, sizeof *entry);
    entry->first_id = entry->id = id;
    entry->start = q->ring.tail;
    entry->flags = (uint8_t)flags;
    entry->deadline_us = deadline_us;
    return entry;
}

/* Drops from the head leave the index at once and are kept as one range, so that a program which
 * sends more than it polls does not fill the index with them. */
MTWS_PRIVATE void mtws__queue_carry(mtws__queue *q) {
    while (q->first < q->live) {
        mtws__entry *e = mtws__queue_entry(q, q->first);
        if (e->fate == MTWS__DROPPED) {
            bool same = q->carry.id != 0 && q->carry.id + 1 == e->first_id &&
                        q->carry.result == e->result && q->carry.left == e->left;
            if (q->carry.id != 0 && !same) return;
            if (!same) q->carry.first_id = e->first_id;
            q->carry.id = e->id;
            q->carry.result = e->result;
            q->carry.left = e->left;
            q->unreported--;
        } else if (e->fate != MTWS__REPORTED) {
            return;
        }
        q->first++;
    }
}

/* Gives back the room of what is settled, and passes over what need not be written. */
MTWS_PRIVATE void mtws__queue_settle(mtws__queue *q) {
    while (q->next < q->end && mtws__queue_entry(q, q->next)->fate >= MTWS__DELIVERED) {
        MTWS_ASSERT(q->cursor == mtws__queue_entry(q, q->next)->start);
        q->holes--;
        q->cursor = q->boundary = q->offered = mtws__queue_entry_end(q, q->next);
        q->next++;
    }
    while (q->live < q->next && mtws__queue_entry(q, q->live)->fate >= MTWS__DELIVERED) q->live++;
    uint64_t head =
        q->transient || q->live == q->end ? q->cursor : mtws__queue_entry(q, q->live)->start;
    if (q->boundary < head) q->boundary = head;
    mtws__ring_release(&q->ring, head);
    mtws__queue_carry(q);
}

MTWS_PRIVATE void mtws__queue_drop(mtws__queue *q, uint64_t number, mtws_result result) {
    mtws__entry *e = mtws__queue_entry(q, number);
    if (e->fate >= MTWS__DELIVERED) return;
    MTWS_ASSERT(number < q->next || !mtws__queue_begun(q, number));
    e->fate = MTWS__DROPPED;
    e->result = (int16_t)result;
    q->unreported++;
    q->holes += number >= q->next;
}

/* Moves what has not begun to leave over the holes between. */
MTWS_PRIVATE void mtws__queue_compact(mtws__queue *q) {
    uint64_t to = mtws__queue_untouched(q);
    if (q->holes == 0) return;
    mtws__entry *e = mtws__queue_entry(q, to);
    uint64_t place = e->start;
    uint64_t run = place; /* what lies between this and the present entry moves in one go */
    q->fresh = mtws__min_u64(q->fresh, place); /* masking what was not written again does no harm */
    for (; to < q->end; to++) {
        mtws__entry *next = mtws__queue_after(q, e);
        uint64_t start = e->start, end = to + 1 < q->end ? next->start : q->ring.tail;
        if (q->stale == start) q->stale = place + (start - run);
        e->start = place + (start - run);
        if (e->fate >= MTWS__DELIVERED) {
            mtws__ring_slide(&q->ring, place, run, (size_t)(start - run));
            place += start - run;
            run = end;
        }
        e = next;
    }
    if (q->stale == q->ring.tail) q->stale = place + (q->ring.tail - run);
    mtws__ring_slide(&q->ring, place, run, (size_t)(q->ring.tail - run));
    place += q->ring.tail - run;
    q->ring.tail = place;
}

/* After drops: the room of what had not begun to leave can be used again at once, even where an
 * unconfirmed message before it holds the head. */
MTWS_PRIVATE void mtws__queue_close_up(mtws__queue *q) {
    if (q->live == q->next) mtws__queue_settle(q); /* at the head nothing needs to move */
    mtws__queue_compact(q);
    mtws__queue_settle(q);
}

/* Drops all that is not settled, or of it what has not begun to leave. */
MTWS_PRIVATE void mtws__queue_clear(mtws__queue *q, mtws_result result, bool begun_too) {
    uint64_t number = begun_too ? q->live : mtws__queue_untouched(q);
    for (; number < q->end; number++) mtws__queue_drop(q, number, result);
    mtws__queue_close_up(q);
}

/* Where the entries that may be written end: `limit` is the first that may not. */
MTWS_PRIVATE uint64_t mtws__queue_writable_end(const mtws__queue *q, uint64_t limit) {
    uint64_t number = mtws__queue_untouched(q); /* what has begun is always finished */
    limit = mtws__min_u64(limit, q->end);
    if (q->holes == 0) {
        number = mtws__max_u64(number, limit);
    } else {
        while (number < limit && mtws__queue_entry(q, number)->fate < MTWS__DELIVERED) number++;
    }
    return number < q->end ? mtws__queue_entry(q, number)->start : q->ring.tail;
}

MTWS_PRIVATE bool mtws__queue_has_output(const mtws__queue *q, uint64_t limit) {
    return q->cursor < mtws__queue_writable_end(q, limit);
}

/* Decodes the frame header that lies at offset. */
MTWS_PRIVATE mtws__frame mtws__queue_frame_at(const mtws__queue *q, uint64_t offset) {
    uint8_t header[MTWS__FRAME_HEADER_MAX];
    mtws__frame f;
    size_t have = (size_t)mtws__min_u64(sizeof header, q->ring.tail - offset);
    mtws__ring_load(&q->ring, offset, header, have);
    int decoded = mtws__frame_decode(&f, header, have, true);
    MTWS_ASSERT(decoded == 1);
    (void)decoded;
    return f;
}

/* Gives the frames before `upto`, and the one it lies in, masking keys of this connection. */
MTWS_PRIVATE void mtws__queue_mask(mtws__queue *q, uint64_t upto, mtws__random *random) {
    upto = mtws__min_u64(upto, q->stale);
    while (q->fresh < upto) {
        mtws__frame f = mtws__queue_frame_at(q, q->fresh);
        uint8_t key[4], change[4];
        mtws__random_fill(random, key, 4);
        for (int i = 0; i < 4; i++) change[i] = key[i] ^ f.key[i];
        uint64_t at = q->fresh + f.header_size;
        mtws__ring_store(&q->ring, at - 4, key, 4);
        for (uint64_t done = 0; done < f.size;) {
            size_t part = (size_t)(f.size - done);
            uint8_t *bytes = mtws__ring_at(&q->ring, at + done, &part);
            mtws__frame_mask(bytes, bytes, part, change, done);
            done += part;
        }
        q->fresh = at + f.size;
    }
}

/* The end of the frame that the cursor is in; the cursor itself between two frames. A transient
 * queue frees what it wrote, so the frames are walked before that (see wrote). */
MTWS_PRIVATE uint64_t mtws__queue_boundary(mtws__queue *q) {
    while (q->boundary < q->cursor) {
        mtws__frame f = mtws__queue_frame_at(q, q->boundary);
        q->boundary += f.header_size + f.size;
    }
    return q->boundary;
}

enum { MTWS__MASK_AHEAD = 65536 }; /* of frames from earlier connections, masked for one write */

/* The bytes to write next, as many as lie in one piece; with `one_frame` no more than end the frame
 * that has begun. Empty where nothing may be written. */
MTWS_PRIVATE mtws__span mtws__queue_peek(mtws__queue *q, uint64_t limit, bool one_frame,
                                         mtws__random *random) {
    uint64_t end = one_frame ? mtws__queue_boundary(q) : mtws__queue_writable_end(q, limit);
    end = mtws__max_u64(end, q->offered);
    mtws__span span;
    span.data = q->ring.data;
    span.size = 0;
    if (q->cursor >= end) return span;
    if (q->fresh < q->cursor) q->fresh = q->cursor; /* a hole was passed */
    if (q->fresh < q->stale) {
        mtws__queue_mask(q, mtws__min_u64(end, q->cursor + MTWS__MASK_AHEAD), random);
        if (q->fresh < q->stale) end = mtws__min_u64(end, q->fresh);
    }
    span.size = (size_t)(end - q->cursor);
    span.data = mtws__ring_at(&q->ring, q->cursor, &span.size);
    return span;
}

/* The transport took none of the `size` bytes that peek gave, but may keep them: they stay as they
 * are until it takes them. */
MTWS_PRIVATE void mtws__queue_offer(mtws__queue *q, size_t size) {
    q->offered = mtws__max_u64(q->offered, q->cursor + size);
}

/* `size` bytes of what peek gave have left. Returns how many messages that completed. */
MTWS_PRIVATE size_t mtws__queue_wrote(mtws__queue *q, size_t size) {
    size_t completed = 0;
    q->cursor += size;
    q->offered = q->cursor;
    q->untimed = mtws__min_u64(q->untimed, q->next); /* what was only offered can expire again */
    if (q->transient) mtws__queue_boundary(q);
    while (q->next < q->end && mtws__queue_begun(q, q->next)) {
        mtws__entry *e = mtws__queue_entry(q, q->next);
        if (e->open || mtws__queue_entry_end(q, q->next) > q->cursor) break;
        e->fate = e->sure ? MTWS__DELIVERED : MTWS__WRITTEN;
        q->unreported += e->sure;
        q->resent += e->left;
        e->left = 1;
        q->next++;
        completed++;
    }
    mtws__queue_settle(q);
    return completed;
}

/* What was written before entry `upto` is delivered. */
MTWS_PRIVATE void mtws__queue_confirm(mtws__queue *q, uint64_t upto) {
    MTWS_ASSERT(upto <= q->next);
    for (uint64_t number = q->live; number < upto; number++) {
        mtws__entry *e = mtws__queue_entry(q, number);
        if (e->fate != MTWS__WRITTEN) continue;
        e->fate = MTWS__DELIVERED;
        q->unreported++;
    }
    mtws__queue_settle(q);
}

/* What has left at least once and has an id up to this one is delivered: the program knows. */
MTWS_PRIVATE void mtws__queue_confirm_id(mtws__queue *q, uint64_t id) {
    for (uint64_t number = q->live; number < q->end; number++) {
        mtws__entry *e = mtws__queue_entry(q, number);
        if (e->id > id) break;
        if (!e->left || e->fate >= MTWS__DELIVERED) continue;
        if (e->fate == MTWS__WAITING && mtws__queue_begun(q, number)) {
            e->sure = 1; /* a frame that has begun must be ended first */
            continue;
        }
        q->holes += e->fate == MTWS__WAITING;
        e->fate = MTWS__DELIVERED;
        q->unreported++;
    }
    mtws__queue_settle(q);
}

/* Entries whose fate is open. */
MTWS_PRIVATE size_t mtws__queue_unsettled(const mtws__queue *q) {
    size_t count = 0;
    for (uint64_t number = q->live; number < q->end; number++) {
        count += mtws__queue_entry(q, number)->fate < MTWS__DELIVERED;
    }
    return count;
}

/* Entries that are written and not confirmed. */
MTWS_PRIVATE size_t mtws__queue_unconfirmed(const mtws__queue *q) {
    size_t count = 0;
    for (uint64_t number = q->live; number < q->next; number++) {
        count += mtws__queue_entry(q, number)->fate == MTWS__WRITTEN;
    }
    return count;
}

/* The connection is gone: what may not be written again is dropped, the rest begins anew. What was
 * not wholly written is kept, unless it belongs to that connection alone. */
MTWS_PRIVATE void mtws__queue_reset(mtws__queue *q, mtws_result result) {
    q->holes = 0;
    for (uint64_t number = q->live; number < q->end; number++) {
        mtws__entry *e = mtws__queue_entry(q, number);
        bool bound = (e->flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0 || q->transient;
        bool once = (e->flags & MTWS_ONCE) != 0 && e->fate == MTWS__WRITTEN;
        if (e->fate < MTWS__DELIVERED && (bound || once)) {
            e->fate = MTWS__DROPPED;
            e->result = (int16_t)result;
            q->unreported++;
        }
        if (e->fate == MTWS__WRITTEN) e->fate = MTWS__WAITING;
        if (e->sure && e->fate == MTWS__WAITING) {
            e->fate = MTWS__DELIVERED;
            q->unreported++;
        }
        q->holes += e->fate >= MTWS__DELIVERED;
    }
    q->next = q->live;
    q->untimed = mtws__min_u64(q->untimed, q->next);
    q->cursor = q->boundary = q->offered = q->transient ? q->ring.tail : q->ring.head;
    if (q->transient) {
        q->next = q->end;
        q->holes = 0;
    }
    mtws__queue_settle(q);
}

/* A connection is open: everything that waits gets a masking key of its own as it is written. */
MTWS_PRIVATE void mtws__queue_begin(mtws__queue *q) {
    q->fresh = q->cursor;
    q->stale = q->ring.tail;
}

/* Whether the entry at the head would leave the index at once if it were dropped. */
MTWS_PRIVATE bool mtws__queue_head_goes(const mtws__queue *q, mtws_result result) {
    if (q->first != q->next) return false;
    const mtws__entry *e = mtws__queue_entry(q, q->first);
    bool alone = q->carry.id == 0;
    bool alike = q->carry.id + 1 == e->first_id && q->carry.result == (int16_t)result;
    MTWS_ASSERT(e->fate == MTWS__WAITING);
    return !e->left && !mtws__queue_begun(q, q->first) && (alone || alike);
}

/* Whether the entry, once dropped, can share the slot of the one before it. */
MTWS_PRIVATE bool mtws__queue_joins(const mtws__queue *q, uint64_t number, mtws_result result) {
    if (number == q->first) return false;
    const mtws__entry *e = mtws__queue_entry(q, number);
    const mtws__entry *before = mtws__queue_entry(q, number - 1);
    bool waits = before->fate == MTWS__WAITING && !mtws__queue_begun(q, number - 1);
    bool dropped = before->fate == MTWS__DROPPED && before->result == (int16_t)result;
    return before->id + 1 == e->first_id && !before->left && (waits || dropped);
}

/* Two neighbours that were dropped for the same reason become one, and the index has a slot. */
MTWS_PRIVATE void mtws__queue_join(mtws__queue *q, uint64_t number) {
    mtws__entry *e = mtws__queue_entry(q, number);
    mtws__queue_entry(q, number - 1)->id = e->id;
    for (uint64_t n = number; n + 1 < q->end; n++) {
        mtws__entry *next = mtws__queue_after(q, e);
        *e = *next;
        e = next;
    }
    q->end--;
    q->holes--;
    q->unreported--;
    q->untimed = mtws__min_u64(q->untimed, number);
    if (q->barrier > number) q->barrier--;
}

/* Makes room by dropping the oldest messages that never left. False, and nothing is dropped, where
 * that does not help. A slot of the index comes back from the head, or by joining two entries. */
MTWS_PRIVATE bool mtws__queue_evict(mtws__queue *q, size_t wire_size, mtws_result result) {
    size_t free_size = mtws__ring_free(&q->ring);
    bool full = q->end - q->first >= q->capacity;
    bool head = full && mtws__queue_head_goes(q, result);
    bool slot = !full, join = full && !head;
    uint64_t begin = mtws__queue_untouched(q), number = begin, stop = begin;
    for (; number < q->end && (!slot || free_size < wire_size); number++) {
        const mtws__entry *e = mtws__queue_entry(q, number);
        if (e->fate < MTWS__DELIVERED && e->left) continue;
        free_size += (size_t)(mtws__queue_entry_end(q, number) - e->start);
        stop = number + 1;
        if (e->fate == MTWS__WAITING && (head || mtws__queue_joins(q, number, result))) slot = true;
    }
    if (!slot || free_size < wire_size) return false;
    for (number = begin; number < stop; number++) {
        if (!mtws__queue_entry(q, number)->left) mtws__queue_drop(q, number, result);
    }
    if (!join) {
        mtws__queue_close_up(q);
        return mtws__queue_fits(q, wire_size);
    }
    mtws__queue_compact(q);
    for (number = stop; join && number-- > begin;) {
        if (mtws__queue_entry(q, number)->fate != MTWS__DROPPED ||
            mtws__queue_entry(q, number)->result != (int16_t)result ||
            !mtws__queue_joins(q, number, result))
            continue;
        mtws__queue_join(q, number);
        join = false;
    }
    mtws__queue_settle(q);
    return mtws__queue_fits(q, wire_size);
}

/* What is on the wire of this connection does not expire. */
MTWS_PRIVATE bool mtws__queue_may_expire(const mtws__queue *q, uint64_t number) {
    return mtws__queue_entry(q, number)->fate < MTWS__DELIVERED && !mtws__queue_begun(q, number);
}

/* Drops what waited longer than it may. Deadlines ascend, so each entry is passed once. */
MTWS_PRIVATE void mtws__queue_expire(mtws__queue *q, uint64_t now_us) {
    bool dropped = false;
    uint64_t number = mtws__max_u64(q->untimed, q->next);
    for (; number < q->end; number++) {
        if (!mtws__queue_may_expire(q, number)) continue;
        if (mtws__queue_entry(q, number)->deadline_us > now_us) break;
        mtws__queue_drop(q, number, MTWS_ERR_EXPIRED);
        dropped = true;
    }
    q->untimed = number;
    if (dropped) mtws__queue_close_up(q);
}

/* When the next message expires; UINT64_MAX: none does. */
MTWS_PRIVATE uint64_t mtws__queue_expiry_us(const mtws__queue *q) {
    for (uint64_t number = mtws__max_u64(q->untimed, q->next); number < q->end; number++) {
        if (mtws__queue_may_expire(q, number)) return mtws__queue_entry(q, number)->deadline_us;
    }
    return UINT64_MAX;
}

/* Whether two settled entries belong into one event. */
MTWS_PRIVATE bool mtws__queue_alike(const mtws__entry *e, uint8_t fate, const mtws__range *range) {
    if (e->fate != fate) return false;
    return fate == MTWS__DELIVERED ||
           (e->result == (int16_t)range->result && (e->left != 0) == range->left);
}

/* The next range of messages that met the same fate; the caller hands over their event. */
MTWS_PRIVATE bool mtws__queue_report(mtws__queue *q, mtws__range *out) {
    if (q->carry.id != 0) {
        out->first_id = q->carry.first_id;
        out->id = q->carry.id;
        out->result = (mtws_result)q->carry.result;
        out->left = q->carry.left != 0;
        q->carry.id = 0;
        mtws__queue_carry(q);
        return true;
    }
    if (q->unreported == 0) return false;
    uint64_t number = q->first;
    mtws__entry *e = mtws__queue_entry(q, number);
    while (e->fate != MTWS__DELIVERED && e->fate != MTWS__DROPPED) {
        e = mtws__queue_entry(q, ++number);
    }
    uint8_t fate = e->fate;
    out->first_id = e->first_id;
    out->result = fate == MTWS__DELIVERED ? MTWS_OK : (mtws_result)e->result;
    out->left = e->left != 0;
    for (;;) {
        out->id = e->id;
        q->unreported--;
        e->fate = MTWS__REPORTED;
        if (++number == q->end) break;
        e = mtws__queue_entry(q, number);
        if (e->first_id != out->id + 1 || !mtws__queue_alike(e, fate, out)) break;
    }
    mtws__queue_carry(q);
    return true;
}

/* ==========================================================================
 * >>backoff                                   RFC 6455 section 7.2.3
 * uses: bytes, random
 * How long to wait before the next attempt. Pure.
 */

enum { MTWS__DELAY_MIN_MS = 250 };

/* min(max, initial * factor^round), by multiplying so that nothing overflows. */
MTWS_PRIVATE uint64_t mtws__backoff_cap_ms(int32_t initial_ms, int32_t max_ms, double factor,
                                           uint32_t round) {
    double cap = initial_ms;
    for (; round > 0 && cap < max_ms; round--) {
        double next = cap * factor;
        if (next <= cap) break; /* with a factor of 1 no round changes it */
        cap = next;
    }
    if (cap > max_ms) cap = max_ms;
    return mtws__max_u64((uint64_t)cap, MTWS__DELAY_MIN_MS);
}

/* The one place that knows the jitter: evenly drawn from half of the cap to three times, within
 * 250 ms and the maximum, so that clients which lost the same server come back apart; the test
 * "herd" compares it with others. A full delay begins at the cap, or at three quarters of the
 * maximum. Retry-After (0: none) only lengthens a delay, and what a server told to many is drawn
 * apart by as much as a delay is, or by a tenth. */
MTWS_PRIVATE uint64_t mtws__backoff_jitter_ms(uint64_t cap_ms, uint64_t max_ms, bool full,
                                              uint64_t after_ms, mtws__random *random) {
    MTWS_ASSERT(cap_ms <= INT32_MAX && after_ms <= INT32_MAX);
    uint64_t high = mtws__max_u64(mtws__min_u64(3 * cap_ms, max_ms), MTWS__DELAY_MIN_MS);
    uint64_t low = full ? mtws__min_u64(cap_ms, high - high / 4) : cap_ms / 2;
    low = mtws__max_u64(low, MTWS__DELAY_MIN_MS);
    uint64_t delay = mtws__random_between(random, low, high);
    if (after_ms == 0) return delay;
    uint64_t spread = mtws__max_u64(after_ms / 10, high - low);
    return mtws__max_u64(delay, after_ms + mtws__random_between(random, 0, spread));
}

/* ==========================================================================
 * >>heartbeat                                 RFC 6455 sections 5.5.2, 5.5.3
 * uses: bytes
 * When to ask whether the peer is there, when to give it up, and which answer answers what. Time
 * comes in as a number. Pure.
 */

enum {
    MTWS__PINGS_MAX = 4,
    MTWS__PING_SIZE = 16, /* the connection's nonce, then the sequence number */
    MTWS__MARKS = 3,      /* queues that a Ping confirms */
    MTWS__LOOKS = 8,      /* within a timeout, whether what lies before a question leaves */
    MTWS__PATIENCE = 4,   /* signs of life extend a deadline to so many timeouts at most */
    MTWS__REPEATS_MAX = 6 /* doublings of the time until what has no answer is asked again */
};

typedef struct mtws__ping {
    uint64_t sequence;
    uint64_t marks[MTWS__MARKS]; /* the entries before these had left when it was made */
    uint64_t stamp;              /* of a heartbeat in JSON, which no Pong answers; 0: a Ping */
    uint64_t sent_us;
} mtws__ping;

typedef struct mtws__heartbeat {
    uint64_t interval_us; /* 0: off */
    uint64_t timeout_us;
    uint8_t nonce[8];
    uint64_t sequence;
    mtws__ping pings[MTWS__PINGS_MAX]; /* not answered, the oldest first */
    int count;
    int unwritten;      /* how many of them, the newest, wait for room to be written */
    int repeats;        /* Pings in a row that only asked again, up to MTWS__REPEATS_MAX */
    bool answered;      /* at least one was, on this connection */
    bool probe;         /* ask now */
    uint64_t next_us;   /* when to ask again */
    uint64_t wanted_us; /* since when a Ping is due for which there is no room; UINT64_MAX: none */
    uint64_t alive_us;  /* the last sign of life */
    size_t unsent_size; /* what the kernel still held of the bytes before the latest question ... */
    uint64_t look_us;   /* ... and when to look again whether it falls; UINT64_MAX: no need */
} mtws__heartbeat;

MTWS_PRIVATE void mtws__heartbeat_start(mtws__heartbeat *h, uint64_t interval_us,
                                        uint64_t timeout_us, const uint8_t nonce[8],
                                        uint64_t now_us) {
    memset(h, 0, sizeof *h);
    h->interval_us = interval_us;
    h->timeout_us = timeout_us;
    memcpy(h->nonce, nonce, 8);
    h->next_us = interval_us == 0 ? UINT64_MAX : mtws__add_u64(now_us, interval_us);
    h->wanted_us = h->look_us = UINT64_MAX;
    h->alive_us = now_us;
}

/* What the kernel holds of the bytes before a question. If that falls, the link moves. */
MTWS_PRIVATE void mtws__heartbeat_look(mtws__heartbeat *h, size_t unsent_size, uint64_t now_us) {
    if (unsent_size < h->unsent_size) h->alive_us = now_us;
    h->unsent_size = mtws__min_size(unsent_size, h->unsent_size);
    bool done = h->unsent_size == 0 || h->interval_us == 0;
    h->look_us = done ? UINT64_MAX : mtws__add_u64(now_us, h->timeout_us / MTWS__LOOKS);
}

MTWS_PRIVATE bool mtws__heartbeat_due(const mtws__heartbeat *h, uint64_t now_us) {
    return h->count < MTWS__PINGS_MAX && (h->probe || now_us >= h->next_us);
}

/* A heartbeat in JSON is due: it is asked for, and the next one later. */
MTWS_PRIVATE void mtws__heartbeat_asked(mtws__heartbeat *h, uint64_t now_us) {
    h->probe = false;
    h->wanted_us = mtws__min_u64(h->wanted_us, now_us);
    h->next_us = mtws__add_u64(now_us, h->interval_us);
}

/* A Ping is due, and there is no room for its frame: its time runs all the same. */
MTWS_PRIVATE void mtws__heartbeat_want(mtws__heartbeat *h, uint64_t now_us) {
    h->wanted_us = mtws__min_u64(h->wanted_us, now_us);
}

/* Makes a Ping; out takes its payload of MTWS__PING_SIZE bytes. */
MTWS_PRIVATE void mtws__heartbeat_ping(mtws__heartbeat *h, const uint64_t marks[MTWS__MARKS],
                                       uint64_t now_us, uint8_t *out) {
    MTWS_ASSERT(h->count < MTWS__PINGS_MAX);
    mtws__ping *ping = &h->pings[h->count++];
    ping->sequence = ++h->sequence;
    ping->stamp = 0;
    ping->sent_us = mtws__min_u64(now_us, h->wanted_us);
    memcpy(ping->marks, marks, sizeof ping->marks);
    memcpy(out, h->nonce, 8);
    mtws__store_big(out + 8, 8, ping->sequence);
    h->unwritten++;
    h->probe = false;
    h->wanted_us = UINT64_MAX;
    if (h->interval_us != 0) h->next_us = mtws__add_u64(now_us, h->interval_us);
}

/* All Pings that were made are written: their time starts here. */
MTWS_PRIVATE void mtws__heartbeat_written(mtws__heartbeat *h, uint64_t now_us, size_t unsent_size) {
    if (h->unwritten == 0) return;
    for (; h->unwritten > 0; h->unwritten--) h->pings[h->count - h->unwritten].sent_us = now_us;
    h->unsent_size = unsent_size;
    mtws__heartbeat_look(h, unsent_size, now_us);
}

/* The Ping at `index` is answered, and those before it with it, since a peer may answer the latest
 * alone. */
MTWS_PRIVATE void mtws__heartbeat_take(mtws__heartbeat *h, int index, mtws__ping *out) {
    *out = h->pings[index];
    h->count -= index + 1;
    if (h->unwritten > h->count) h->unwritten = h->count; /* who answers it has it */
    h->repeats = 0;
    if (h->count == 0) h->look_us = UINT64_MAX;
    memmove(h->pings, h->pings + index + 1, (size_t)h->count * sizeof h->pings[0]);
    h->answered = true;
}

/* Whether a Pong answers a Ping of ours; *out is that Ping. */
MTWS_PRIVATE bool mtws__heartbeat_pong(mtws__heartbeat *h, mtws__span payload, mtws__ping *out) {
    if (payload.size != MTWS__PING_SIZE || memcmp(payload.data, h->nonce, 8) != 0) return false;
    uint64_t sequence = mtws__load_big(payload.data + 8, 8);
    for (int i = 0; i < h->count; i++) {
        if (h->pings[i].sequence != sequence || h->pings[i].stamp != 0) continue;
        mtws__heartbeat_take(h, i, out);
        return true;
    }
    return false;
}

/* When the newest Ping counts as lost: each that only asked again doubles the time. UINT64_MAX:
 * none is open. */
MTWS_PRIVATE uint64_t mtws__heartbeat_lost_us(const mtws__heartbeat *h) {
    if (h->count == 0) return UINT64_MAX;
    return mtws__add_u64(h->pings[h->count - 1].sent_us, h->timeout_us << h->repeats);
}

/* The next Ping asks again for what the others had asked: where four are open, the oldest is given
 * up, since a later one asks for more. */
MTWS_PRIVATE void mtws__heartbeat_repeat(mtws__heartbeat *h) {
    if (h->repeats < MTWS__REPEATS_MAX) h->repeats++;
    if (h->count < MTWS__PINGS_MAX) return;
    h->count--;
    memmove(h->pings, h->pings + 1, (size_t)h->count * sizeof h->pings[0]);
}

/* A Ping of the connection's other heartbeat is answered: those made before it count as answered,
 * since a peer may answer the latest alone. */
MTWS_PRIVATE void mtws__heartbeat_outrun(mtws__heartbeat *h, uint64_t sequence) {
    mtws__ping ping;
    int last = -1;
    for (int i = 0; i < h->count; i++) {
        if (h->pings[i].stamp == 0 && h->pings[i].sequence < sequence) last = i;
    }
    if (last >= 0) mtws__heartbeat_take(h, last, &ping);
}

/* A heartbeat in JSON was written. Where too much is open already, the oldest is judged anyway. */
MTWS_PRIVATE void mtws__heartbeat_stamped(mtws__heartbeat *h, uint64_t stamp, uint64_t now_us,
                                          size_t unsent_size) {
    h->wanted_us = UINT64_MAX;
    h->unsent_size = unsent_size;
    mtws__heartbeat_look(h, unsent_size, now_us);
    if (h->count == MTWS__PINGS_MAX) return;
    mtws__ping *ping = &h->pings[h->count];
    memset(ping, 0, sizeof *ping);
    ping->stamp = stamp;
    ping->sent_us = now_us;
    /* Pings that wait to be written stay the newest. */
    int place = h->count - h->unwritten;
    mtws__ping moved = *ping;
    memmove(h->pings + place + 1, h->pings + place, (size_t)h->unwritten * sizeof moved);
    h->pings[place] = moved;
    h->count++;
}

/* Whether an answer in JSON answers one of ours: it repeats the stamp. */
MTWS_PRIVATE bool mtws__heartbeat_echo(mtws__heartbeat *h, uint64_t stamp, mtws__ping *out) {
    for (int i = 0; stamp != 0 && i < h->count; i++) {
        if (h->pings[i].stamp != stamp) continue;
        mtws__heartbeat_take(h, i, out);
        return true;
    }
    return false;
}

/* When the oldest question counts as not answered; UINT64_MAX: none is open, or heartbeats are
 * off. Signs of life extend it, within limits. */
MTWS_PRIVATE uint64_t mtws__heartbeat_deadline_us(const mtws__heartbeat *h) {
    uint64_t asked = h->count > 0 ? h->pings[0].sent_us : h->wanted_us;
    if (h->interval_us == 0 || asked == UINT64_MAX) return UINT64_MAX;
    uint64_t longest = mtws__add_u64(asked, MTWS__PATIENCE * h->timeout_us);
    uint64_t usual = mtws__add_u64(mtws__max_u64(asked, h->alive_us), h->timeout_us);
    return mtws__min_u64(longest, usual);
}

/* Time passed in which nobody looked: deadlines begin anew, and the peer is asked at once. */
MTWS_PRIVATE void mtws__heartbeat_restart(mtws__heartbeat *h, uint64_t now_us) {
    for (int i = 0; i < h->count; i++) h->pings[i].sent_us = now_us;
    if (h->wanted_us != UINT64_MAX) h->wanted_us = now_us;
    h->alive_us = now_us;
    h->probe = h->interval_us != 0;
}

/* ==========================================================================
 * >>cert                                      RFC 5280, RFC 6125, RFC 7468, RFC 7469
 * uses: bytes, base64, url, http
 * What TLS asks of certificates beyond what BearSSL looks at: their text form, the names that they
 * bear, their dates and keys. Read as they arrive, in pieces cut anywhere. Pure.
 */
#ifdef MTWS_BEARSSL

/* ---- PEM ------------------------------------------------------------------------------------- */

enum { MTWS__PEM_LINE_MAX = 64, MTWS__PEM_DATA_MAX = 240 };

/* What comes of the text: blocks, from BEGIN to END with their DATA in between. */
typedef enum mtws__pem_item {
    MTWS__PEM_MORE, /* all was read */
    MTWS__PEM_BEGIN,
    MTWS__PEM_DATA,
    MTWS__PEM_END,
    MTWS__PEM_BAD /* instead of END: it was no base64, or is encrypted */
} mtws__pem_item;

typedef struct mtws__pem {
    char line[MTWS__PEM_LINE_MAX];  /* outside of blocks: how the present line begins */
    size_t line_size;               /* of the whole line */
    char label[MTWS__PEM_LINE_MAX]; /* of the block: "CERTIFICATE" */
    bool within;                    /* a block */
    bool line_start;                /* within it */
    bool over;                      /* its end was seen */
    bool bad;
    uint32_t bits; /* the latest digits of base64 */
    unsigned digits, pads;
    uint8_t data[MTWS__PEM_DATA_MAX];
    size_t size;
} mtws__pem;

MTWS_PRIVATE void mtws__pem_start(mtws__pem *p) { memset(p, 0, sizeof *p); }

/* At the end of a line: whether it begins a block. */
MTWS_PRIVATE bool mtws__pem_begins(mtws__pem *p) {
    static const char before[] = "-----BEGIN ", after[] = "-----";
    const size_t before_size = sizeof before - 1, after_size = sizeof after - 1;
    size_t size = p->line_size;
    p->line_size = 0;
    if (size > sizeof p->line) return false;
    while (size > 0 && (p->line[size - 1] == '\r' || p->line[size - 1] == ' ')) size--;
    if (size <= before_size + after_size || memcmp(p->line, before, before_size) != 0 ||
        memcmp(p->line + size - after_size, after, after_size) != 0)
        return false;
    size -= before_size + after_size;
    memcpy(p->label, p->line + before_size, size);
    p->label[size] = 0;
    p->within = p->line_start = true;
    p->over = p->bad = false;
    p->digits = p->pads = 0;
    p->size = 0;
    return true;
}

/* A character between the lines that begin and end a block. */
MTWS_PRIVATE void mtws__pem_take(mtws__pem *p, uint8_t c) {
    static const char blanks[] = " \t\r\n";
    int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;
    if (digit >= 0 && p->pads == 0) {
        p->bits = (p->bits << 6 | (uint32_t)digit) & 0xffffff;
        unsigned place = p->digits++ % 4;
        if (place > 0) p->data[p->size++] = (uint8_t)(p->bits >> (6 - 2 * place) & 0xff);
    } else if (c == '=' && p->digits % 4 >= 2) {
        p->pads++;
    } else if (c == 0 || strchr(blanks, c) == NULL) {
        p->bad = true;
    }
}

/* Reads on to the next item; *used bytes of the text are done with. DATA is p->data, p->size bytes
 * of it, until the next call. */
MTWS_PRIVATE mtws__pem_item mtws__pem_feed(mtws__pem *p, mtws__span text, size_t *used) {
    *used = 0;
    if (p->size == sizeof p->data || p->over) p->size = 0;
    while (*used < text.size && !p->over) {
        uint8_t c = text.data[(*used)++];
        if (p->within && p->line_start && c == '-') {
            unsigned odd = p->digits % 4;
            p->bad = p->bad || (odd == 0 ? p->pads > 0 : odd + p->pads != 4);
            p->over = true;
        } else if (p->within) {
            p->line_start = c == '\n';
            mtws__pem_take(p, c);
            if (p->size == sizeof p->data) return MTWS__PEM_DATA;
        } else if (c == '\n') {
            if (mtws__pem_begins(p)) return MTWS__PEM_BEGIN;
        } else {
            if (p->line_size < sizeof p->line) p->line[p->line_size] = (char)c;
            if (p->line_size <= sizeof p->line) p->line_size++;
        }
    }
    if (!p->over) return MTWS__PEM_MORE;
    if (p->size > 0) return MTWS__PEM_DATA;
    p->within = p->over = false;
    p->line_size = 1; /* what follows is the rest of the line that ends the block */
    return p->bad ? MTWS__PEM_BAD : MTWS__PEM_END;
}

/* ---- DER ------------------------------------------------------------------------------------- */

enum { MTWS__CERT_DEPTH = 8, MTWS__CERT_VALUE_MAX = 256, MTWS__CERT_HEADER_MAX = 6 };

/* What a certificate says, in its order. The first four come in pieces. */
typedef enum mtws__cert_item {
    MTWS__CERT_MORE, /* all was read */
    MTWS__CERT_ISSUER,
    MTWS__CERT_SUBJECT,
    MTWS__CERT_KEY,        /* SubjectPublicKeyInfo */
    MTWS__CERT_NOT_BEFORE, /* a time, as cert->tag says */
    MTWS__CERT_NOT_AFTER,
    MTWS__CERT_IS_CA,   /* a BOOLEAN */
    MTWS__CERT_PURPOSE, /* the OID of an extended key usage */
    MTWS__CERT_DNS,     /* names of subjectAltName */
    MTWS__CERT_IP,
    MTWS__CERT_BAD,      /* this is no certificate */
    MTWS__CERT_SKIP,     /* these are never handed over: what nobody asks for, */
    MTWS__CERT_EXTENSION /* and the OID of an extension */
} mtws__cert_item;

/* Elements whose members are looked at. */
typedef enum mtws__cert_place {
    MTWS__IN_NOTHING,
    MTWS__IN_FILE,
    MTWS__IN_CERTIFICATE,
    MTWS__IN_TBS,
    MTWS__IN_VALIDITY,
    MTWS__IN_EXTENSIONS, /* the tagged element, then the list in it */
    MTWS__IN_EXTENSION_LIST,
    MTWS__IN_EXTENSION,
    MTWS__IN_CONSTRAINTS, /* values: the OCTET STRING, then the list in it */
    MTWS__IN_CONSTRAINTS_LIST,
    MTWS__IN_PURPOSES,
    MTWS__IN_PURPOSES_LIST,
    MTWS__IN_NAMES,
    MTWS__IN_NAMES_LIST
} mtws__cert_place;

typedef struct mtws__cert {
    struct {
        mtws__cert_place place;
        int count;   /* members seen */
        size_t left; /* bytes behind the latest member */
    } open[MTWS__CERT_DEPTH];
    int depth;
    uint8_t header[MTWS__CERT_HEADER_MAX]; /* of the element that begins */
    size_t header_size;
    uint8_t tag;          /* of the element whose content is read */
    mtws__cert_item item; /* what it is */
    size_t left;          /* of it */
    mtws__cert_place extension;
    bool bad;
    uint8_t value[MTWS__CERT_VALUE_MAX];
    size_t value_size; /* over the room: only as much is kept */
    mtws__span piece;  /* of the item that was handed over */
} mtws__cert;

MTWS_PRIVATE void mtws__cert_start(mtws__cert *c) {
    memset(c, 0, sizeof *c);
    c->open[0].place = MTWS__IN_FILE;
    c->open[0].left = SIZE_MAX; /* what follows the certificate makes it a bad one */
    c->depth = 1;
}

/* Members of the signed part: [0] version, which may be left out, serial number, algorithm, issuer,
 * validity, subject, key, and extensions behind unique ids that nobody has. */
MTWS_PRIVATE mtws__cert_place mtws__cert_member(mtws__cert *c, int count) {
    c->item = count == 2   ? MTWS__CERT_ISSUER
              : count == 4 ? MTWS__CERT_SUBJECT
              : count == 5 ? MTWS__CERT_KEY
                           : MTWS__CERT_SKIP;
    if (count < 6) c->bad = c->tag != (count == 0 ? 0x02 : 0x30);
    if (count == 3) return MTWS__IN_VALIDITY;
    return count >= 6 && c->tag == 0xa3 ? MTWS__IN_EXTENSIONS : MTWS__IN_NOTHING;
}

/* Which extension the OID names that was kept. */
MTWS_PRIVATE mtws__cert_place mtws__cert_extension(const mtws__cert *c) {
    if (c->value_size != 3 || c->value[0] != 0x55 || c->value[1] != 0x1d) return MTWS__IN_NOTHING;
    if (c->value[2] == 17) return MTWS__IN_NAMES;
    if (c->value[2] == 19) return MTWS__IN_CONSTRAINTS;
    return c->value[2] == 37 ? MTWS__IN_PURPOSES : MTWS__IN_NOTHING;
}

/* A list with the members that `place` has. */
MTWS_PRIVATE mtws__cert_place mtws__cert_list(mtws__cert *c, mtws__cert_place place) {
    c->bad = c->bad || c->tag != 0x30;
    return place;
}

/* What the element is that begins: sets c->item, or returns the place that its members have. */
MTWS_PRIVATE mtws__cert_place mtws__cert_classify(mtws__cert *c) {
    int *count = &c->open[c->depth - 1].count;
    int before = (*count)++;
    c->item = MTWS__CERT_SKIP;
    switch (c->open[c->depth - 1].place) {
    case MTWS__IN_FILE:
        if (before > 0) c->bad = true;
        return mtws__cert_list(c, MTWS__IN_CERTIFICATE);
    case MTWS__IN_CERTIFICATE:
        return before > 0 ? MTWS__IN_NOTHING : mtws__cert_list(c, MTWS__IN_TBS);
    case MTWS__IN_TBS:
        if (before > 0 || c->tag != 0xa0) return mtws__cert_member(c, before);
        *count = 0;
        break;
    case MTWS__IN_VALIDITY:
        c->item = before == 0 ? MTWS__CERT_NOT_BEFORE : MTWS__CERT_NOT_AFTER;
        break;
    case MTWS__IN_EXTENSIONS: return mtws__cert_list(c, MTWS__IN_EXTENSION_LIST);
    case MTWS__IN_EXTENSION_LIST:
        c->extension = MTWS__IN_NOTHING;
        return mtws__cert_list(c, MTWS__IN_EXTENSION);
    case MTWS__IN_EXTENSION:
        if (before == 0) c->item = MTWS__CERT_EXTENSION;
        return c->tag == 0x04 ? c->extension : MTWS__IN_NOTHING;
    case MTWS__IN_CONSTRAINTS: return mtws__cert_list(c, MTWS__IN_CONSTRAINTS_LIST);
    case MTWS__IN_PURPOSES: return mtws__cert_list(c, MTWS__IN_PURPOSES_LIST);
    case MTWS__IN_NAMES: return mtws__cert_list(c, MTWS__IN_NAMES_LIST);
    case MTWS__IN_CONSTRAINTS_LIST:
        if (c->tag == 0x01) c->item = MTWS__CERT_IS_CA;
        break;
    case MTWS__IN_PURPOSES_LIST: c->item = MTWS__CERT_PURPOSE; break;
    case MTWS__IN_NAMES_LIST:
        if (c->tag == 0x82) c->item = MTWS__CERT_DNS;
        if (c->tag == 0x87) c->item = MTWS__CERT_IP;
        break;
    case MTWS__IN_NOTHING: break;
    }
    return MTWS__IN_NOTHING;
}

/* The header is whole where its last byte is: tag, then the length in its shortest form (X.690
 * section 10.1). */
MTWS_PRIVATE bool mtws__cert_header(mtws__cert *c) {
    const uint8_t *h = c->header;
    if (c->header_size < 2) return false;
    size_t more = h[1] < 0x80 ? 0 : h[1] & 0x7fu;
    c->bad = (h[0] & 0x1f) == 0x1f || h[1] == 0x80 || more > MTWS__CERT_HEADER_MAX - 2;
    if (c->bad || c->header_size < 2 + more) return c->bad;
    c->tag = h[0];
    c->left = more == 0 ? h[1] : (size_t)mtws__load_big(h + 2, more);
    c->bad = more > 0 && (h[2] == 0 || (more == 1 && h[2] < 0x80));
    return true;
}

/* An element begins. True: it is, or its beginning is, to be handed over. */
MTWS_PRIVATE bool mtws__cert_begin(mtws__cert *c) {
    size_t *left = &c->open[c->depth - 1].left;
    size_t header_size = c->header_size;
    c->header_size = 0;
    if (c->bad || header_size > *left || c->left > *left - header_size) {
        c->bad = true;
        return false;
    }
    *left -= header_size + c->left;
    mtws__cert_place place = mtws__cert_classify(c);
    c->value_size = 0;
    if (place != MTWS__IN_NOTHING) {
        MTWS_ASSERT(c->depth < MTWS__CERT_DEPTH); /* places lie in one another in one order */
        c->depth++;
        c->open[c->depth - 1].place = place;
        c->open[c->depth - 1].count = 0;
        c->open[c->depth - 1].left = c->left;
        c->left = 0;
        return false;
    }
    c->piece.data = c->item <= MTWS__CERT_KEY ? c->header : c->value;
    c->piece.size = c->item <= MTWS__CERT_KEY ? header_size : 0;
    return c->item <= MTWS__CERT_KEY || (c->item < MTWS__CERT_SKIP && c->left == 0);
}

/* Content of an element. True: c->piece is to be handed over. */
MTWS_PRIVATE bool mtws__cert_content(mtws__cert *c, const uint8_t *data, size_t size) {
    c->left -= size;
    c->piece.data = data;
    c->piece.size = size;
    if (c->item <= MTWS__CERT_KEY) return true;
    if (c->item == MTWS__CERT_SKIP) return false;
    size_t kept = mtws__min_size(c->value_size, sizeof c->value);
    memcpy(c->value + kept, data, mtws__min_size(size, sizeof c->value - kept));
    c->value_size += size;
    if (c->left > 0) return false;
    if (c->item == MTWS__CERT_EXTENSION) {
        c->extension = mtws__cert_extension(c);
        return false;
    }
    /* No value that is looked for is as long as the room. */
    c->piece.data = c->value;
    c->piece.size = mtws__min_size(c->value_size, sizeof c->value);
    return true;
}

/* Reads on to the next item, whose bytes are c->piece until the next call; *used bytes of the data
 * are done with. */
MTWS_PRIVATE mtws__cert_item mtws__cert_feed(mtws__cert *c, const uint8_t *data, size_t size,
                                             size_t *used) {
    *used = 0;
    while (*used < size && !c->bad) {
        if (c->left > 0) {
            size_t part = mtws__min_size(size - *used, c->left);
            const uint8_t *at = data + *used;
            *used += part;
            if (mtws__cert_content(c, at, part)) return c->item;
            continue;
        }
        while (c->header_size == 0 && c->open[c->depth - 1].left == 0) c->depth--;
        c->header[c->header_size++] = data[(*used)++];
        if (mtws__cert_header(c) && mtws__cert_begin(c)) return c->item;
    }
    return c->bad ? MTWS__CERT_BAD : MTWS__CERT_MORE;
}

/* Whether what has come is one whole certificate. */
MTWS_PRIVATE bool mtws__cert_whole(const mtws__cert *c) {
    bool open = c->left > 0 || c->header_size > 0 || c->open[0].count == 0;
    for (int i = 1; i < c->depth; i++) open = open || c->open[i].left > 0;
    return !open && !c->bad;
}

/* Takes the next element of what lies in one piece: its content. False: there is none, or with
 * another tag. */
MTWS_PRIVATE bool mtws__der_next(mtws__span *rest, uint8_t tag, mtws__span *content) {
    mtws__cert c;
    memset(&c, 0, sizeof c);
    MTWS_ASSERT(tag != 0);
    while (c.header_size < rest->size) {
        c.header[c.header_size] = rest->data[c.header_size];
        c.header_size++;
        if (mtws__cert_header(&c)) break;
    }
    if (c.bad || c.tag != tag || c.left > rest->size - c.header_size) return false;
    content->data = rest->data + c.header_size;
    content->size = c.left;
    rest->data += c.header_size + c.left;
    rest->size -= c.header_size + c.left;
    return true;
}

typedef enum mtws__key_kind { MTWS__KEY_UNKNOWN, MTWS__KEY_RSA, MTWS__KEY_EC } mtws__key_kind;

typedef struct mtws__key {
    mtws__key_kind kind;
    mtws__span modulus, exponent; /* RSA: without leading zeros */
    int curve;                    /* EC: its number in TLS (RFC 8422 section 5.1.1) */
    mtws__span point;
} mtws__key;

/* Takes a SubjectPublicKeyInfo apart (RFC 3279 section 2.3). */
MTWS_PRIVATE void mtws__key_parse(mtws__span info, mtws__key *key) {
    static const uint8_t rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1};
    static const uint8_t ec[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1};
    static const struct {
        int curve;
        size_t size;
        uint8_t oid[8];
    } curves[] = {
        {23, 8, {0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}},
        {24, 5, {0x2b, 0x81, 4, 0, 0x22}},
        {25, 5, {0x2b, 0x81, 4, 0, 0x23}},
    };
    mtws__span all, algorithm, oid, curve, bits, pair;
    memset(key, 0, sizeof *key);
    if (!mtws__der_next(&info, 0x30, &all) || !mtws__der_next(&all, 0x30, &algorithm) ||
        !mtws__der_next(&algorithm, 0x06, &oid) || !mtws__der_next(&all, 0x03, &bits) ||
        bits.size < 2 || bits.data[0] != 0)
        return;
    bits.data++;
    bits.size--;
    if (oid.size == sizeof rsa && memcmp(oid.data, rsa, sizeof rsa) == 0) {
        mtws__span *parts[2] = {&key->modulus, &key->exponent};
        if (!mtws__der_next(&bits, 0x30, &pair)) return;
        for (int i = 0; i < 2; i++) {
            if (!mtws__der_next(&pair, 0x02, parts[i])) return;
            while (parts[i]->size > 0 && parts[i]->data[0] == 0) {
                parts[i]->data++;
                parts[i]->size--;
            }
            if (parts[i]->size == 0) return;
        }
        key->kind = MTWS__KEY_RSA;
        return;
    }
    if (oid.size != sizeof ec || memcmp(oid.data, ec, sizeof ec) != 0 ||
        !mtws__der_next(&algorithm, 0x06, &curve))
        return;
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        if (curve.size != curves[i].size || memcmp(curve.data, curves[i].oid, curve.size) != 0) {
            continue;
        }
        key->kind = MTWS__KEY_EC;
        key->curve = curves[i].curve;
        key->point = bits;
    }
}

/* ---- dates ----------------------------------------------------------------------------------- */

/* A UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5) as seconds since 1970; INT64_MIN where
 * it is none. */
MTWS_PRIVATE int64_t mtws__cert_time(uint8_t tag, mtws__span text) {
    int parts[7]; /* century, year, month, day, hour, minute, second */
    size_t skip = tag == 0x17 ? 1 : 0;
    if ((tag != 0x17 && tag != 0x18) || text.size != 2 * (7 - skip) + 1 ||
        text.data[text.size - 1] != 'Z')
        return INT64_MIN;
    for (size_t i = skip; i < 7; i++) {
        const uint8_t *two = text.data + 2 * (i - skip);
        if (!mtws__is_digit((char)two[0]) || !mtws__is_digit((char)two[1])) return INT64_MIN;
        parts[i] = (two[0] - '0') * 10 + two[1] - '0';
    }
    if (skip == 1) parts[0] = parts[1] < 50 ? 20 : 19;
    if (parts[2] < 1 || parts[2] > 12 || parts[3] < 1 || parts[3] > 31 || parts[4] > 23 ||
        parts[5] > 59 || parts[6] > 60)
        return INT64_MIN;
    int64_t days = mtws__http_days((int64_t)parts[0] * 100 + parts[1], parts[2] - 1, parts[3]);
    return days * 86400 + (int64_t)parts[4] * 3600 + (int64_t)parts[5] * 60 + parts[6];
}

/* "2026-02-28", for people. The civil calendar counted from March, as mtws__http_days does. */
MTWS_PRIVATE void mtws__cert_date(int64_t seconds, char out[16]) {
    mtws__writer w;
    int64_t days = seconds / 86400 - (seconds % 86400 < 0 ? 1 : 0) + 719468;
    uint64_t since = days < 0 ? 0 : (uint64_t)days; /* 0000-03-01 */
    uint64_t era = since / 146097, day = since % 146097;
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t of_year = day - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153;
    uint64_t of_month = of_year - (153 * month + 2) / 5 + 1;
    year = mtws__min_u64(year + era * 400 + (month >= 10 ? 1 : 0), 9999);
    month = month < 10 ? month + 3 : month - 9;
    mtws__writer_open(&w, out, 16);
    mtws__writer_number(&w, year);
    mtws__writer_text(&w, month < 10 ? "-0" : "-");
    mtws__writer_number(&w, month);
    mtws__writer_text(&w, of_month < 10 ? "-0" : "-");
    mtws__writer_number(&w, of_month);
}

/* ---- names and pins -------------------------------------------------------------------------- */

/* The host as it is asked for and compared: in lower case, without the root's dot. False where it
 * is no name of DNS (RFC 1123 section 2.1; underscores occur). */
MTWS_PRIVATE bool mtws__cert_host(char out[MTWS__HOST_MAX + 1], const char *host) {
    size_t size = strlen(host), label = 0;
    bool number = true; /* all digits so far */
    if (size > 0 && host[size - 1] == '.') size--;
    if (size == 0 || size > MTWS__HOST_MAX) return false;
    for (size_t i = 0; i < size; i++) {
        char c = mtws__lower(host[i]);
        if (c == '.') {
            if (label == 0) return false;
            label = 0;
            number = true;
        } else {
            if (!mtws__is_alpha(c) && !mtws__is_digit(c) && c != '-' && c != '_') return false;
            number = number && mtws__is_digit(c);
            label++;
        }
        if (label > 63) return false;
        out[i] = c;
    }
    out[size] = 0;
    return label > 0 && !number; /* 10.0.0 is no name, whatever it is */
}

/* Whether a dNSName is the host's. An asterisk stands for one whole label, the first, with two more
 * behind it at least (RFC 6125 section 6.4.3). */
MTWS_PRIVATE bool mtws__cert_matches(mtws__span name, const char *host) {
    if (name.size > 2 && name.data[0] == '*' && name.data[1] == '.') {
        const char *rest = strchr(host, '.');
        if (rest == NULL || strchr(rest + 1, '.') == NULL) return false;
        host = rest;
        name.data++;
        name.size--;
    }
    return mtws__span_is(name, host);
}

/* The next pin of a list, 43 digits of base64 and "=" each (RFC 7469 section 2.4), with commas,
 * semicolons or blanks between. The last digit ends in two zero bits: no other pin can match.
 * 1: out is it; 0: there is none; -1: the list is bad. */
MTWS_PRIVATE int mtws__cert_pin(const char **list, uint8_t out[32]) {
    static const char between[] = " ,;\t\r\n";
    *list += strspn(*list, between);
    size_t size = strcspn(*list, between);
    if (size == 0) return 0;
    mtws__span text = mtws__span_of(*list);
    text.size = size;
    if (size != 44 || (*list)[43] != '=' || mtws__base64_decode(out, 32, text) != 32) return -1;
    if (strchr("AEIMQUYcgkosw048", (*list)[42]) == NULL) return -1;
    *list += size;
    return 1;
}

#endif /* MTWS_BEARSSL */

/* ==========================================================================
 * >>dns                                       RFC 1035, 2308, 6891, 7766, 8767
 * uses: bytes, random, url
 * A stub resolver: addresses as text, the files that say whom to ask, messages, and the machine
 * that decides what to ask next. Bytes, time and randomness come in, questions go out. Pure.
 */

enum {
    MTWS__ZONE_MAX = 15,
    MTWS__DNS_PORT = 53,
    MTWS__DNS_SERVERS_MAX = 3,
    MTWS__DNS_SEARCH_MAX = 512, /* bytes of domains in resolv.conf */
    MTWS__DNS_FAMILY_MAX = 8,   /* addresses of one family that are kept */
    MTWS__DNS_TRIES_MAX = 3,    /* sockets that wait for an answer */
    MTWS__DNS_HEADER_SIZE = 12,
    MTWS__DNS_NAME_MAX = 255, /* on the wire */
    MTWS__DNS_QUERY_MAX = 12 + 255 + 4 + 11,
    MTWS__DNS_UDP_MAX = 1232, /* announced by EDNS0: passes every path unfragmented */
    MTWS__DNS_RECORD_MIN = 11,
    MTWS__DNS_CHAIN_MAX = 8,     /* aliases from the name to its addresses */
    MTWS__DNS_HOPS_MAX = 32,     /* compression pointers within one name */
    MTWS__DNS_TIMEOUT_MS = 2000, /* for one server, where neither option nor file says */
    MTWS__DNS_ATTEMPTS = 2,      /* rounds over the servers */
    MTWS__DNS_RECHECK_S = 30 /* RFC 8767 section 5: before servers that failed are asked again */
};

typedef enum mtws__dns_type {
    MTWS__DNS_A = 1,
    MTWS__DNS_NS = 2,
    MTWS__DNS_CNAME = 5,
    MTWS__DNS_SOA = 6,
    MTWS__DNS_AAAA = 28,
    MTWS__DNS_OPT = 41
} mtws__dns_type;

/* Families are counted in the order in which they are tried. */
enum { MTWS__IPV6 = 0, MTWS__IPV4 = 1, MTWS__FAMILIES = 2 };

typedef struct mtws__ip {
    uint8_t bytes[16]; /* IPv4: the first four */
    bool six;
    char zone[MTWS__ZONE_MAX + 1]; /* of a link-local address, or "" */
} mtws__ip;

/* ---- addresses as text ---------------------------------------------------------------------- */

/* An address of either family; one of IPv6 may have a zone behind '%'. */
MTWS_PRIVATE bool mtws__ip_parse(mtws__span text, mtws__ip *out) {
    memset(out, 0, sizeof *out);
    mtws__span zone = text;
    text = mtws__url_cut(&zone, "%");
    size_t size = mtws__url_address(text, out->bytes);
    out->six = size == sizeof out->bytes;
    if (zone.size == 0) return size > 0;
    if (!out->six || zone.size == 1 || zone.size > MTWS__ZONE_MAX + 1) return false;
    memcpy(out->zone, zone.data + 1, zone.size - 1);
    return true;
}

MTWS_PRIVATE bool mtws__ip_same(const mtws__ip *a, const mtws__ip *b) {
    return a->six == b->six && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0 &&
           strcmp(a->zone, b->zone) == 0;
}

/* Whether nobody can be there: the unspecified address, with which some servers say that a name is
 * blocked, and which the system would take for this machine; and IPv4 that is mapped into IPv6,
 * whose address is known already. */
MTWS_PRIVATE bool mtws__ip_is_nobody(const uint8_t *bytes, bool six) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t zero[16] = {0};
    return memcmp(bytes, zero, six ? 16 : 4) == 0 ||
           (six && memcmp(bytes, mapped, sizeof mapped) == 0);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Words of a file that comes in pieces, line by line. */
typedef struct mtws__words {
    char text[MTWS__HOST_MAX + 3]; /* a word that is longer comes as "" */
    size_t size;                   /* of what has come of it */
    int place;                     /* of the word in its line */
    bool given, comment, line_over;
} mtws__words;

/* Takes bytes up to the end of the next word. True: text is it. The last word of a file that does
 * not end with a newline needs one behind it. */
MTWS_PRIVATE bool mtws__words_next(mtws__words *w, mtws__span *in) {
    if (w->given) {
        w->given = false;
        w->size = 0;
        w->place++;
    }
    for (;;) {
        if (w->line_over) {
            w->line_over = w->comment = false;
            w->place = 0;
        }
        if (in->size == 0) return false;
        char c = (char)*in->data++;
        in->size--;
        w->line_over = c == '\n';
        if (c == '#' || (c == ';' && w->size == 0)) w->comment = true;
        bool blank = c == '\n' || c == ' ' || c == '\t' || c == '\r' || c == 0;
        if (!blank && !w->comment) {
            if (w->size < sizeof w->text) w->text[w->size++] = c;
            continue;
        }
        if (w->size == 0) continue;
        w->text[w->size < sizeof w->text ? w->size : 0] = 0;
        w->given = true;
        return true;
    }
}

/* Looks for a name in a hosts file. */
typedef struct mtws__hosts {
    mtws__words words;
    mtws__ip ip; /* of the present line */
    bool good;   /* it has one */
} mtws__hosts;

/* True: *out is an address of the name, and more may follow. False: all of `in` is taken. */
MTWS_PRIVATE bool mtws__hosts_next(mtws__hosts *h, const char *name, mtws__span *in,
                                   mtws__ip *out) {
    while (mtws__words_next(&h->words, in)) {
        mtws__span word = mtws__span_of(h->words.text);
        if (h->words.place == 0) {
            h->good = mtws__ip_parse(word, &h->ip);
            continue;
        }
        if (!h->good || !mtws__span_is(word, name)) continue;
        h->good = false; /* a name that its line repeats is found once */
        *out = h->ip;
        return true;
    }
    return false;
}

typedef struct mtws__dns_server {
    mtws__ip ip;
    uint16_t port;
} mtws__dns_server;

/* What resolv.conf says. */
typedef struct mtws__dns_config {
    mtws__dns_server servers[MTWS__DNS_SERVERS_MAX];
    int server_count;
    char search[MTWS__DNS_SEARCH_MAX]; /* domains, each with its NUL */
    size_t search_size;
    uint32_t ndots, attempts;
    uint32_t timeout_ms; /* 0: not said */
    bool rotate;
    char keyword[12]; /* of the line that is being read */
} mtws__dns_config;

MTWS_PRIVATE void mtws__dns_config_start(mtws__dns_config *c) {
    memset(c, 0, sizeof *c);
    c->ndots = 1;
    c->attempts = MTWS__DNS_ATTEMPTS;
}

/* The number of an option such as "ndots:2", at most `most`. False: the word is another. */
MTWS_PRIVATE bool mtws__dns_config_number(const char *word, const char *name, uint32_t most,
                                          uint32_t *out) {
    size_t size = strlen(name);
    uint32_t value = 0;
    if (strncmp(word, name, size) != 0 || !mtws__is_digit(word[size])) return false;
    for (word += size; mtws__is_digit(*word); word++) {
        value = value * 10 + (uint32_t)(*word - '0');
        if (value > most) value = most;
    }
    *out = value;
    return true;
}

MTWS_PRIVATE void mtws__dns_config_option(mtws__dns_config *c, const char *word) {
    uint32_t value;
    if (strcmp(word, "rotate") == 0) c->rotate = true;
    if (mtws__dns_config_number(word, "ndots:", 15, &value)) c->ndots = value;
    if (mtws__dns_config_number(word, "timeout:", 30, &value)) {
        c->timeout_ms = value == 0 ? 1000 : value * 1000;
    }
    if (mtws__dns_config_number(word, "attempts:", 5, &value)) c->attempts = value == 0 ? 1 : value;
}

/* Adds a server; false where there is no room. */
MTWS_PRIVATE bool mtws__dns_config_server(mtws__dns_config *c, const mtws__ip *ip, uint16_t port) {
    if (c->server_count == MTWS__DNS_SERVERS_MAX) return false;
    c->servers[c->server_count].ip = *ip;
    c->servers[c->server_count++].port = port;
    return true;
}

/* A domain to search; one that does not fit is left away. */
MTWS_PRIVATE void mtws__dns_config_domain(mtws__dns_config *c, const char *word) {
    size_t size = strlen(word);
    while (size > 0 && word[size - 1] == '.') size--;
    if (size == 0 || size > MTWS__HOST_MAX || size + 1 > sizeof c->search - c->search_size) return;
    memcpy(c->search + c->search_size, word, size);
    c->search[c->search_size + size] = 0;
    c->search_size += size + 1;
}

/* One word of resolv.conf (resolv.conf(5)). Of several lists of domains the last one counts. */
MTWS_PRIVATE void mtws__dns_config_word(mtws__dns_config *c, const char *word, int place) {
    mtws__ip ip;
    if (place == 0) {
        size_t size = strlen(word);
        if (size >= sizeof c->keyword) size = 0;
        memcpy(c->keyword, word, size);
        c->keyword[size] = 0;
        bool list = strcmp(c->keyword, "search") == 0 || strcmp(c->keyword, "domain") == 0;
        if (list) c->search_size = 0;
    } else if (strcmp(c->keyword, "nameserver") == 0) {
        bool good = place == 1 && mtws__ip_parse(mtws__span_of(word), &ip);
        if (good) mtws__dns_config_server(c, &ip, MTWS__DNS_PORT);
    } else if (strcmp(c->keyword, "options") == 0) {
        mtws__dns_config_option(c, word);
    } else if (strcmp(c->keyword, "search") == 0 ||
               (place == 1 && strcmp(c->keyword, "domain") == 0)) {
        mtws__dns_config_domain(c, word);
    }
}

/* A server as options.dns_servers names one, which is not "": 9.9.9.9, 9.9.9.9:5353, 2620:fe::fe,
 * [2620:fe::fe]:53. */
MTWS_PRIVATE bool mtws__dns_server_parse(mtws__span text, mtws__ip *ip, uint16_t *port) {
    mtws__span rest = text;
    *port = MTWS__DNS_PORT;
    if (mtws__ip_parse(text, ip)) return true;
    if (text.data[0] == '[') {
        rest.data++;
        rest.size--;
        text = mtws__url_cut(&rest, "]");
        if (rest.size == 0 || memchr(text.data, ':', text.size) == NULL) return false;
        rest.data++;
        rest.size--;
        if (rest.size == 0) return mtws__ip_parse(text, ip);
    } else {
        text = mtws__url_cut(&rest, ":");
    }
    if (rest.size == 0 || rest.data[0] != ':') return false;
    rest.data++;
    rest.size--;
    int32_t value = mtws__url_number(rest, 65535);
    *port = (uint16_t)value;
    return value > 0 && mtws__ip_parse(text, ip);
}

/* The servers of options.dns_servers, which stand between commas or blanks. False: one is none, or
 * there are too many, or none at all. */
MTWS_PRIVATE bool mtws__dns_servers_parse(const char *list, mtws__dns_config *out) {
    mtws__span rest = mtws__span_of(list);
    while (rest.size > 0) {
        mtws__ip ip;
        uint16_t port;
        mtws__span word = mtws__url_cut(&rest, ", ");
        if (rest.size > 0) {
            rest.data++;
            rest.size--;
        }
        if (word.size == 0) continue;
        if (!mtws__dns_server_parse(word, &ip, &port) || !mtws__dns_config_server(out, &ip, port)) {
            return false;
        }
    }
    return out->server_count > 0;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* Whether a message can hold the name: labels of 1 to 63 letters, digits, hyphens and underscores.
 */
MTWS_PRIVATE bool mtws__dns_name_ok(const char *name) {
    size_t label = 0, size = 0;
    for (; name[size] != 0; size++) {
        char c = name[size];
        bool dot = c == '.';
        if (!dot && !mtws__is_alpha(c) && !mtws__is_digit(c) && c != '-' && c != '_') return false;
        if (dot ? label == 0 : label == 63) return false;
        label = dot ? 0 : label + 1;
    }
    return label > 0 && size <= MTWS__HOST_MAX;
}

/* Whether the last label is a number: then it is an address, or nothing, and never asked for. */
MTWS_PRIVATE bool mtws__dns_is_number(const char *name) {
    size_t size = strlen(name), at = size;
    while (at > 0 && name[at - 1] != '.') at--;
    while (at < size && mtws__is_digit(name[at])) at++;
    return at == size;
}

/* A question about a name that mtws__dns_name_ok has seen; its size. cases, where given, holds a
 * bit for each letter that is to be a capital: who has not seen the question can't repeat it. */
MTWS_PRIVATE size_t mtws__dns_query(uint8_t *out, const char *name, uint16_t id, uint16_t type,
                                    const uint8_t *cases, bool edns) {
    size_t label = MTWS__DNS_HEADER_SIZE, at = label + 1;
    memset(out, 0, MTWS__DNS_HEADER_SIZE);
    mtws__store_big(out, 2, id);
    out[2] = 1; /* recursion desired */
    out[5] = 1; /* one question */
    for (size_t i = 0; name[i] != 0; i++, at++) {
        if (name[i] == '.') {
            out[label] = (uint8_t)(at - label - 1);
            label = at;
            continue;
        }
        bool capital = cases != NULL && mtws__is_alpha(name[i]) && (cases[i / 8] >> i % 8 & 1) != 0;
        out[at] = (uint8_t)(capital ? name[i] & 0xdf : name[i]);
    }
    out[label] = (uint8_t)(at - label - 1);
    out[at++] = 0;
    mtws__store_big(out + at, 2, type);
    mtws__store_big(out + at + 2, 2, 1); /* the internet */
    at += 4;
    if (!edns) return at;
    out[11] = 1;
    memset(out + at, 0, 11); /* RFC 6891 section 6.1: the root's OPT, version 0, no options */
    mtws__store_big(out + at + 1, 2, MTWS__DNS_OPT);
    mtws__store_big(out + at + 3, 2, MTWS__DNS_UDP_MAX);
    return at + 11;
}

/* Reads the name at *at, in small letters as on the wire, and passes it; its size. 0: it is cut
 * off, longer than a name can be, or points to where it must not. Pointers lead backward only, so
 * that no loop is possible, and not into the header. */
MTWS_PRIVATE size_t mtws__dns_name(mtws__span message, size_t *at,
                                   uint8_t out[MTWS__DNS_NAME_MAX]) {
    size_t size = 0, place = *at, lowest = place;
    for (int hops = 0;;) {
        if (place >= message.size) return 0;
        size_t length = message.data[place];
        if (length >= 0xc0) {
            if (message.size - place < 2 || hops == MTWS__DNS_HOPS_MAX) return 0;
            size_t target = (size_t)mtws__load_big(message.data + place, 2) & 0x3fff;
            if (target >= lowest || target < MTWS__DNS_HEADER_SIZE) return 0;
            if (hops++ == 0) *at = place + 2;
            place = lowest = target;
            continue;
        }
        if (length > 63 || length >= message.size - place) return 0;
        if (length + 1 > MTWS__DNS_NAME_MAX - size) return 0;
        for (size_t i = 0; i <= length; i++) {
            out[size++] = (uint8_t)mtws__lower((char)message.data[place++]);
        }
        if (length > 0) continue;
        if (hops == 0) *at = place;
        return size;
    }
}

typedef struct mtws__dns_record {
    uint8_t name[MTWS__DNS_NAME_MAX];
    size_t name_size;
    uint16_t type, net; /* net: 1 is the internet */
    uint32_t ttl;
    size_t data_at, data_size;
} mtws__dns_record;

/* Reads the record at *at and passes it. False: it is not whole. */
MTWS_PRIVATE bool mtws__dns_record_read(mtws__span message, size_t *at, mtws__dns_record *r) {
    r->name_size = mtws__dns_name(message, at, r->name);
    if (r->name_size == 0 || message.size - *at < 10) return false;
    const uint8_t *fixed = message.data + *at;
    r->type = (uint16_t)mtws__load_big(fixed, 2);
    r->net = (uint16_t)mtws__load_big(fixed + 2, 2);
    r->ttl = (uint32_t)mtws__load_big(fixed + 4, 4);
    if (r->ttl > INT32_MAX) r->ttl = 0; /* RFC 2181 section 8 */
    r->data_size = (size_t)mtws__load_big(fixed + 8, 2);
    r->data_at = *at + 10;
    if (r->data_size > message.size - r->data_at) return false;
    *at = r->data_at + r->data_size;
    return true;
}

typedef enum mtws__dns_said {
    MTWS__DNS_FOREIGN,   /* no answer to our question: wait on */
    MTWS__DNS_ADDRESSES, /* of the name, at least one */
    MTWS__DNS_NO_DATA,   /* the name has none of this family */
    MTWS__DNS_NO_NAME,   /* there is no such name */
    MTWS__DNS_CUT,       /* truncated: ask by TCP */
    MTWS__DNS_PLAIN,     /* it does not understand the question, perhaps for its EDNS0 */
    MTWS__DNS_FAILED     /* a server that can't say, or an answer that breaks the rules */
} mtws__dns_said;

typedef struct mtws__dns_reply {
    uint32_t ttl; /* in seconds, the least of all that the answer rests on; UINT32_MAX: not said */
    int count;
    uint8_t bytes[MTWS__DNS_FAMILY_MAX][16];
} mtws__dns_reply;

MTWS_PRIVATE void mtws__dns_reply_add(mtws__dns_reply *reply, const uint8_t *data, bool six) {
    size_t size = six ? 16 : 4;
    if (reply->count == MTWS__DNS_FAMILY_MAX || mtws__ip_is_nobody(data, six)) return;
    for (int i = 0; i < reply->count; i++) {
        if (memcmp(reply->bytes[i], data, size) == 0) return;
    }
    memset(reply->bytes[reply->count], 0, 16);
    memcpy(reply->bytes[reply->count++], data, size);
}

/* Where a chain of aliases has come to. */
typedef struct mtws__dns_link {
    uint8_t name[MTWS__DNS_NAME_MAX];
    size_t size;
} mtws__dns_link;

/* What `count` answers from `at` on, which are whole, say of the name of the link: its addresses go
 * to the reply; it is an alias, and the link goes on to what it stands for; or neither. False: they
 * break the rules. */
MTWS_PRIVATE bool mtws__dns_follow(mtws__span message, size_t at, size_t count, uint16_t type,
                                   mtws__dns_link *link, mtws__dns_reply *reply, bool *alias) {
    mtws__dns_record r;
    mtws__dns_link next;
    next.size = 0;
    for (size_t i = 0; i < count; i++) {
        bool whole = mtws__dns_record_read(message, &at, &r);
        MTWS_ASSERT(whole);
        (void)whole;
        if (r.net != 1 || r.name_size != link->size || memcmp(r.name, link->name, link->size) != 0)
            continue;
        if (r.type != type && r.type != MTWS__DNS_CNAME) continue;
        if (r.ttl < reply->ttl) reply->ttl = r.ttl;
        if (r.type == type) {
            bool six = type == MTWS__DNS_AAAA;
            if (r.data_size != (six ? 16 : 4)) return false;
            mtws__dns_reply_add(reply, message.data + r.data_at, six);
        } else if (next.size == 0) {
            size_t end = r.data_at;
            next.size = mtws__dns_name(message, &end, next.name);
            if (next.size == 0 || end != r.data_at + r.data_size) return false;
        }
    }
    *alias = next.size > 0 && reply->count == 0;
    if (*alias) *link = next;
    return true;
}

/* Why there are no addresses: by what the authority section says, and for how long it may be kept
 * (RFC 2308 section 2.2 and 5). */
MTWS_PRIVATE mtws__dns_said mtws__dns_negative(mtws__span message, size_t at, size_t answers,
                                               size_t authorities, bool no_name,
                                               mtws__dns_reply *reply) {
    mtws__dns_record r;
    bool referral = false, owned = false;
    for (size_t i = 0; i < answers + authorities; i++) {
        bool whole = mtws__dns_record_read(message, &at, &r);
        MTWS_ASSERT(whole);
        (void)whole;
        if (i < answers || r.net != 1) continue;
        if (r.type == MTWS__DNS_NS) referral = true;
        if (r.type != MTWS__DNS_SOA || r.data_size < 22) continue;
        owned = true;
        const uint8_t *minimum = message.data + r.data_at + r.data_size - 4;
        uint64_t ttl = mtws__min_u64(r.ttl, mtws__load_big(minimum, 4));
        reply->ttl = (uint32_t)mtws__min_u64(reply->ttl, ttl);
    }
    if (no_name) return MTWS__DNS_NO_NAME;
    /* Who only knows others to ask does not do what a resolver is for. */
    return referral && !owned && answers == 0 ? MTWS__DNS_FAILED : MTWS__DNS_NO_DATA;
}

/* What a message says in answer to the question of `query`, whose first `asked` bytes end with it.
 * The question must come back as it was sent, letter by letter: a forger has not seen it. Without
 * it a server may say no more than that EDNS0 is too much for it. */
MTWS_PRIVATE mtws__dns_said mtws__dns_parse(mtws__span message, const uint8_t *query, size_t asked,
                                            uint16_t type, mtws__dns_reply *reply) {
    const uint8_t *data = message.data;
    size_t header = MTWS__DNS_HEADER_SIZE, at = header;
    memset(reply, 0, sizeof *reply);
    reply->ttl = UINT32_MAX;
    if (message.size < header || memcmp(data, query, 2) != 0 || (data[2] & 0xf8) != 0x80) {
        return MTWS__DNS_FOREIGN;
    }
    size_t questions = (size_t)mtws__load_big(data + 4, 2);
    int code = data[3] & 15;
    bool no_name = code == 3, edns = query[11] != 0;
    /* Who can't read EDNS0 may not repeat the question. */
    if (questions == 0 && code == 1 && edns) return MTWS__DNS_PLAIN;
    if (message.size < asked || questions != 1 ||
        memcmp(data + header, query + header, asked - header) != 0)
        return MTWS__DNS_FOREIGN;
    if ((data[2] & 2) != 0) return MTWS__DNS_CUT;
    if (code == 1 || code == 4) return MTWS__DNS_PLAIN;
    if (code != 0 && !no_name) return MTWS__DNS_FAILED;
    size_t answers = (size_t)mtws__load_big(data + 6, 2);
    size_t authorities = (size_t)mtws__load_big(data + 8, 2);
    size_t others = (size_t)mtws__load_big(data + 10, 2);
    size_t most = (message.size - asked) / MTWS__DNS_RECORD_MIN;
    if (answers > most || authorities > most - answers || others > most - answers - authorities) {
        return MTWS__DNS_FAILED;
    }
    mtws__dns_record r;
    for (size_t i = answers + authorities + others, end = asked; i > 0; i--) {
        if (!mtws__dns_record_read(message, &end, &r)) return MTWS__DNS_FAILED;
    }
    mtws__dns_link link;
    link.size = mtws__dns_name(message, &at, link.name);
    bool alias = true;
    for (int hops = 0; alias; hops++) {
        if (hops > MTWS__DNS_CHAIN_MAX ||
            !mtws__dns_follow(message, asked, answers, type, &link, reply, &alias))
            return MTWS__DNS_FAILED;
    }
    if (reply->count > 0) return MTWS__DNS_ADDRESSES;
    return mtws__dns_negative(message, asked, answers, authorities, no_name, reply);
}

/* ---- the machine ---------------------------------------------------------------------------- */

typedef enum mtws__dns_outcome {
    MTWS__DNS_OUTCOME_NONE,    /* nothing was asked yet */
    MTWS__DNS_OUTCOME_ASKING,  /* under way */
    MTWS__DNS_OUTCOME_FOUND,   /* at least one address */
    MTWS__DNS_OUTCOME_NO_NAME, /* each server says so, or one for all */
    MTWS__DNS_OUTCOME_NO_DATA, /* the name is there, and has no address */
    MTWS__DNS_OUTCOME_SILENT,  /* no server answered */
    MTWS__DNS_OUTCOME_FAILED   /* servers answered, and could not say */
} mtws__dns_outcome;

/* What is known of one family. */
typedef struct mtws__dns_set {
    bool known; /* else it was not asked for, or nobody could say */
    uint8_t count;
    uint8_t bytes[MTWS__DNS_FAMILY_MAX][16];
} mtws__dns_set;

/* A name in the cache. */
typedef struct mtws__dns_entry {
    char host[MTWS__HOST_MAX + 1]; /* "": free */
    bool absolute;                 /* it had a final dot */
    mtws__dns_outcome outcome;     /* FOUND, NO_NAME or NO_DATA */
    mtws__dns_set sets[MTWS__FAMILIES];
    uint8_t pending;    /* a bit for each family that nobody could say, or was not waited for ... */
    int candidate;      /* ... and of which name: to be asked for again */
    uint64_t ended_us;  /* when its time to live is over ... */
    uint64_t usable_us; /* ... and until when no server is asked again all the same */
    uint64_t asked_us;  /* when servers were last asked */
    uint64_t used_us;
} mtws__dns_entry;

/* A socket's worth of questions to one server. */
typedef struct mtws__dns_try {
    uint8_t open;  /* a bit for each family whose answer is awaited; 0: this one is over */
    uint8_t asked; /* the same for all that were asked for */
    uint8_t server;
    bool stream, mixed, edns;
    uint16_t ids[MTWS__FAMILIES];
    uint8_t cases[(MTWS__HOST_MAX + 8) / 8];
} mtws__dns_try;

typedef struct mtws__dns {
    mtws__dns_config config;
    uint32_t timeout_ms; /* options.dns_timeout_ms; 0: as the file says */
    unsigned good;       /* the server that answered last */
    uint8_t plain;       /* a bit for each server that does not know EDNS0 */
    mtws__dns_entry cache[MTWS_DNS_CACHE];

    /* The look-up. */
    char host[MTWS__HOST_MAX + 1]; /* without a final dot */
    bool absolute;                 /* with one: nothing is searched */
    mtws__dns_outcome outcome;
    bool stale; /* what was found is older than its time to live allows */
    mtws__dns_set sets[MTWS__FAMILIES];
    uint32_t ttl;
    uint64_t limit_us; /* when a part of it that the cache had ends */
    int candidate; /* of the names that the search list makes */
    char name[MTWS__HOST_MAX + 1];
    uint8_t need;    /* a bit for each family that is still to be answered */
    uint8_t failed;  /* a bit for each server that will not be asked again */
    bool no_data;    /* a name was there, without addresses */
    bool answered;   /* a server answered for this name, if only that it can't say */
    bool unsure;     /* a name could not be judged */
    unsigned first;  /* the server that was asked first */
    unsigned turn;   /* servers asked, over all rounds */
    uint64_t due_us; /* when it is the next one's turn */
    int again;       /* the server to ask again at once; -1: none */
    bool by_stream;  /* ... by TCP */
    mtws__dns_try tries[MTWS__DNS_TRIES_MAX];
    int last;                                /* the latest of them */
    uint8_t answer[2 + MTWS_DNS_ANSWER_MAX]; /* by TCP, behind its size */
    size_t answer_size;
} mtws__dns;

MTWS_PRIVATE void mtws__dns_open(mtws__dns *d) {
    memset(d, 0, sizeof *d);
    mtws__dns_config_start(&d->config);
}

/* Forgets what a change of the network or the configuration may have made untrue: it serves only
 * where no server can be asked. Not what was asked for just now. */
MTWS_PRIVATE void mtws__dns_doubt_entry(mtws__dns_entry *e) {
    uint64_t floor_us = mtws__add_u64(e->asked_us, (uint64_t)MTWS_DNS_TTL_MIN * 1000000);
    e->usable_us = mtws__min_u64(e->usable_us, floor_us);
    e->ended_us = mtws__min_u64(e->ended_us, floor_us);
}

MTWS_PRIVATE void mtws__dns_doubt_all(mtws__dns *d) {
    for (size_t i = 0; i < MTWS_DNS_CACHE; i++) mtws__dns_doubt_entry(&d->cache[i]);
}

/* The cache's entry for the host of the look-up; NULL: it has none. */
MTWS_PRIVATE mtws__dns_entry *mtws__dns_find(mtws__dns *d) {
    for (size_t i = 0; i < MTWS_DNS_CACHE; i++) {
        mtws__dns_entry *e = &d->cache[i];
        if (e->absolute == d->absolute && strcmp(e->host, d->host) == 0) return e;
    }
    return NULL;
}

/* The addresses of the present look-up have not led to a connection: servers are asked anew the
 * next time, though not more often than each MTWS_DNS_TTL_MIN seconds. */
MTWS_PRIVATE void mtws__dns_doubt(mtws__dns *d) {
    mtws__dns_entry *e = mtws__dns_find(d);
    if (e != NULL) mtws__dns_doubt_entry(e);
}

/* Takes over a new configuration. */
MTWS_PRIVATE void mtws__dns_configure(mtws__dns *d, const mtws__dns_config *config) {
    d->config = *config;
    d->good = 0;
    d->plain = 0;
    mtws__dns_doubt_all(d);
}

/* Puts what is known of the host where the next look-up finds it. */
MTWS_PRIVATE void mtws__dns_keep(mtws__dns *d, uint64_t now_us) {
    mtws__dns_entry *e = mtws__dns_find(d);
    for (size_t i = 0; i < MTWS_DNS_CACHE && e == NULL; i++) {
        if (d->cache[i].host[0] == 0) e = &d->cache[i];
    }
    if (e == NULL) {
        e = &d->cache[0];
        for (size_t i = 1; i < MTWS_DNS_CACHE; i++) {
            if (d->cache[i].used_us < e->used_us) e = &d->cache[i];
        }
    }
    uint64_t ttl_s = mtws__min_u64(mtws__max_u64(d->ttl, MTWS_DNS_TTL_MIN), MTWS_DNS_TTL_MAX);
    uint64_t ended_us = mtws__add_u64(now_us, ttl_s * 1000000);
    memcpy(e->host, d->host, sizeof e->host);
    e->absolute = d->absolute;
    memcpy(e->sets, d->sets, sizeof e->sets);
    e->outcome = d->outcome;
    e->pending = 0;
    for (int i = 0; i < MTWS__FAMILIES; i++) {
        if (!d->sets[i].known) e->pending = (uint8_t)(e->pending | 1u << i);
    }
    e->candidate = d->candidate;
    e->ended_us = e->usable_us = mtws__min_u64(ended_us, d->limit_us);
    e->asked_us = e->used_us = now_us;
}

/* Takes what the cache has. */
MTWS_PRIVATE void mtws__dns_take(mtws__dns *d, mtws__dns_entry *e, uint64_t now_us) {
    memcpy(d->sets, e->sets, sizeof d->sets);
    d->outcome = e->outcome;
    d->stale = e->outcome == MTWS__DNS_OUTCOME_FOUND && now_us >= e->ended_us;
    d->need = 0;
    e->used_us = now_us;
}

/* RFC 8767: where no server can say, an old answer is better than none. True: there was one. */
MTWS_PRIVATE bool mtws__dns_take_stale(mtws__dns *d, uint64_t now_us) {
    mtws__dns_entry *e = mtws__dns_find(d);
    if (e == NULL || e->outcome != MTWS__DNS_OUTCOME_FOUND) return false;
    uint64_t end_us = mtws__add_u64(e->ended_us, (uint64_t)MTWS_DNS_STALE_MAX * 1000000);
    if (now_us >= end_us) return false;
    e->asked_us = now_us;
    e->usable_us = mtws__add_u64(now_us, (uint64_t)MTWS__DNS_RECHECK_S * 1000000);
    mtws__dns_take(d, e, now_us);
    return true;
}

/* Makes a candidate's name: the host itself, or with a domain of the search list behind it. A host
 * with at least ndots dots comes first as it is, others last. "" where that can be no name; false:
 * there is no such candidate. */
MTWS_PRIVATE bool mtws__dns_candidate(mtws__dns *d, int index) {
    const char *domain = d->config.search;
    const char *end = domain + (d->absolute ? 0 : d->config.search_size);
    uint32_t dots = 0;
    int domains = 0;
    for (const char *c = d->host; *c != 0; c++) dots += *c == '.';
    for (const char *c = domain; c < end; c += strlen(c) + 1) domains++;
    if (index > domains) return false;
    bool early = d->absolute || dots >= d->config.ndots;
    mtws__writer w;
    mtws__writer_open(&w, d->name, sizeof d->name);
    mtws__writer_text(&w, d->host);
    if (index != (early ? 0 : domains)) {
        for (int i = early ? 1 : 0; i < index; i++) domain += strlen(domain) + 1;
        mtws__writer_text(&w, ".");
        mtws__writer_text(&w, domain);
    }
    if (w.full || !mtws__dns_name_ok(d->name)) d->name[0] = 0;
    return true;
}

/* Begins to ask for a candidate, or for the next one that can be a name. False: there is none. */
MTWS_PRIVATE bool mtws__dns_begin(mtws__dns *d, int index) {
    do {
        if (!mtws__dns_candidate(d, index)) return false;
        d->candidate = index++;
    } while (d->name[0] == 0);
    memset(d->sets, 0, sizeof d->sets);
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) d->tries[i].open = 0;
    d->need = 1u << MTWS__IPV6 | 1u << MTWS__IPV4;
    d->failed = 0;
    d->answered = false;
    d->first = d->good;
    d->turn = 0;
    d->due_us = 0;
    d->again = -1;
    return true;
}

/* Looks the host up, which mtws__dns_name_ok takes: in the cache, or by asking servers, of which
 * there must be one. absolute: it had a final dot, so nothing is searched. */
MTWS_PRIVATE void mtws__dns_start(mtws__dns *d, const char *host, bool absolute, uint64_t now_us) {
    MTWS_ASSERT(d->config.server_count > 0 && strlen(host) < sizeof d->host);
    memcpy(d->host, host, strlen(host) + 1);
    memset(d->sets, 0, sizeof d->sets);
    d->absolute = absolute;
    d->outcome = MTWS__DNS_OUTCOME_ASKING;
    d->stale = d->no_data = d->unsure = false;
    d->ttl = UINT32_MAX;
    d->limit_us = UINT64_MAX;
    mtws__dns_entry *e = mtws__dns_find(d);
    bool usable = e != NULL && now_us < e->usable_us;
    if (d->config.rotate && !usable) d->good++;
    d->good %= (unsigned)d->config.server_count;
    bool fresh = usable && now_us < e->ended_us;
    if (fresh && e->pending != 0 && mtws__dns_begin(d, e->candidate)) {
        /* Half of it is known, and may be used while the other half is asked for. */
        memcpy(d->sets, e->sets, sizeof d->sets);
        d->need = e->pending;
        d->limit_us = e->ended_us;
        return;
    }
    if (usable) {
        mtws__dns_take(d, e, now_us);
        return;
    }
    bool begun = mtws__dns_begin(d, 0); /* the host itself is one of the candidates */
    MTWS_ASSERT(begun);
    (void)begun;
}

/* Whether the answer for a family may still come. */
MTWS_PRIVATE bool mtws__dns_pending(const mtws__dns *d, int family) {
    return d->outcome == MTWS__DNS_OUTCOME_ASKING && (d->need >> family & 1) != 0;
}

/* Ends a look-up that nobody waits for any more. What was found is kept, and what was not is asked
 * for the next time. */
MTWS_PRIVATE void mtws__dns_finish(mtws__dns *d, uint64_t now_us) {
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) d->tries[i].open = 0;
    if (d->outcome != MTWS__DNS_OUTCOME_ASKING) return;
    bool found = d->sets[MTWS__IPV6].count + d->sets[MTWS__IPV4].count > 0;
    d->outcome = found ? MTWS__DNS_OUTCOME_FOUND : MTWS__DNS_OUTCOME_NONE;
    if (found) mtws__dns_keep(d, now_us);
}

/* Nothing is asked any more about the present name: what follows? */
MTWS_PRIVATE void mtws__dns_conclude(mtws__dns *d, uint64_t now_us) {
    const mtws__dns_set *six = &d->sets[MTWS__IPV6], *four = &d->sets[MTWS__IPV4];
    if (six->count + four->count > 0) {
        mtws__dns_finish(d, now_us);
        return;
    }
    bool certain = six->known && four->known;
    if (!certain) {
        d->unsure = true;
        d->ttl = 0;
    }
    /* Servers that are silent about one name will be about the next. */
    bool silent = !certain && !d->answered;
    if (!silent && mtws__dns_begin(d, d->candidate + 1)) return;
    if (d->unsure) {
        if (mtws__dns_take_stale(d, now_us)) return;
        d->outcome = silent ? MTWS__DNS_OUTCOME_SILENT : MTWS__DNS_OUTCOME_FAILED;
        return;
    }
    d->outcome = d->no_data ? MTWS__DNS_OUTCOME_NO_DATA : MTWS__DNS_OUTCOME_NO_NAME;
    if (d->ttl == UINT32_MAX) d->ttl = 0;
    mtws__dns_keep(d, now_us);
}

/* The server whose turn it is; -1: each has had all of its turns, or has failed. */
MTWS_PRIVATE int mtws__dns_server_next(mtws__dns *d) {
    unsigned count = (unsigned)d->config.server_count;
    while (d->turn < count * d->config.attempts) {
        unsigned server = (d->first + d->turn++) % count;
        if ((d->failed >> server & 1) == 0) return (int)server;
    }
    return -1;
}

/* Where the next question goes: over the stream that there may be one of, where nobody waits any
 * more, or in place of an older one. */
MTWS_PRIVATE int mtws__dns_slot(const mtws__dns *d, bool stream) {
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) {
        if (stream && d->tries[i].open != 0 && d->tries[i].stream) return i;
    }
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) {
        if (d->tries[i].open == 0) return i;
    }
    return (d->last + 1) % MTWS__DNS_TRIES_MAX;
}

/* Makes questions for all that is needed. In the second round they are as plain as can be, for what
 * lies between and drops what it does not know. */
MTWS_PRIVATE int mtws__dns_ask(mtws__dns *d, int server, bool stream, mtws__random *random) {
    int slot = mtws__dns_slot(d, stream);
    mtws__dns_try *t = &d->tries[slot];
    uint8_t ids[4];
    bool plain = stream || d->turn > (unsigned)d->config.server_count;
    t->open = t->asked = d->need;
    t->server = (uint8_t)server;
    t->stream = stream;
    t->mixed = !plain;
    t->edns = !plain && (d->plain >> server & 1) == 0;
    mtws__random_fill(random, t->cases, sizeof t->cases);
    mtws__random_fill(random, ids, sizeof ids);
    for (int i = 0; i < MTWS__FAMILIES; i++) {
        t->ids[i] = (uint16_t)mtws__load_big(ids + 2 * i, 2);
    }
    if (t->ids[0] == t->ids[1]) t->ids[0] ^= 1;
    if (stream) d->answer_size = 0;
    d->last = slot;
    return slot;
}

typedef enum mtws__dns_step {
    MTWS__DNS_WAIT, /* for answers, until due_us */
    MTWS__DNS_SEND, /* the questions of a slot, over a new socket */
    MTWS__DNS_DONE  /* the outcome is known */
} mtws__dns_step;

/* What is to be done now. */
MTWS_PRIVATE mtws__dns_step mtws__dns_next(mtws__dns *d, uint64_t now_us, mtws__random *random,
                                           int *slot) {
    while (d->outcome == MTWS__DNS_OUTCOME_ASKING) {
        if (d->need == 0) {
            mtws__dns_conclude(d, now_us);
            continue;
        }
        if (now_us < d->due_us) return MTWS__DNS_WAIT;
        bool again = d->again >= 0, stream = again && d->by_stream;
        int server = again ? d->again : mtws__dns_server_next(d);
        d->again = -1;
        if (server < 0) {
            d->need = 0;
            continue;
        }
        bool second = !again && d->turn > (unsigned)d->config.server_count;
        bool found = d->sets[MTWS__IPV6].count + d->sets[MTWS__IPV4].count > 0;
        if (second && !found && mtws__dns_take_stale(d, now_us)) break;
        uint32_t timeout_ms = MTWS__DNS_TIMEOUT_MS;
        if (d->config.timeout_ms != 0) timeout_ms = d->config.timeout_ms;
        if (d->timeout_ms != 0) timeout_ms = d->timeout_ms;
        *slot = mtws__dns_ask(d, server, stream, random);
        d->due_us = mtws__add_u64(now_us, (uint64_t)timeout_ms * 1000);
        return MTWS__DNS_SEND;
    }
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) d->tries[i].open = 0;
    return MTWS__DNS_DONE;
}

/* A slot's question for a family, as it lies in a datagram; its size. *asked: up to the question's
 * end. */
MTWS_PRIVATE size_t mtws__dns_question(const mtws__dns *d, int slot, int family,
                                       uint8_t out[MTWS__DNS_QUERY_MAX], size_t *asked) {
    const mtws__dns_try *t = &d->tries[slot];
    uint16_t type = family == MTWS__IPV6 ? MTWS__DNS_AAAA : MTWS__DNS_A;
    const uint8_t *cases = t->mixed ? t->cases : NULL;
    size_t size = mtws__dns_query(out, d->name, t->ids[family], type, cases, t->edns);
    *asked = size - (t->edns ? 11 : 0);
    return size;
}

/* All of a slot's questions as they lie in a stream; their size. */
MTWS_PRIVATE size_t mtws__dns_stream_out(const mtws__dns *d, int slot,
                                         uint8_t out[2 * (2 + MTWS__DNS_QUERY_MAX)]) {
    size_t size = 0, asked;
    for (int i = 0; i < MTWS__FAMILIES; i++) {
        if ((d->tries[slot].asked >> i & 1) == 0) continue;
        size_t one = mtws__dns_question(d, slot, i, out + size + 2, &asked);
        mtws__store_big(out + size, 2, one);
        size += 2 + one;
    }
    return size;
}

/* The slot's server can't be reached, or broke off. */
MTWS_PRIVATE void mtws__dns_lost(mtws__dns *d, int slot) {
    mtws__dns_try *t = &d->tries[slot];
    t->open = 0;
    d->failed = (uint8_t)(d->failed | 1u << t->server);
    if (slot == d->last) d->due_us = 0;
}

/* What the slot's server said about a family. */
MTWS_PRIVATE void mtws__dns_heard(mtws__dns *d, int slot, int family, mtws__dns_said said,
                                  const mtws__dns_reply *reply) {
    mtws__dns_try *t = &d->tries[slot];
    mtws__dns_set *set = &d->sets[family];
    d->answered = true;
    if (said <= MTWS__DNS_NO_NAME) {
        d->need = (uint8_t)(d->need & ~(1u << family));
        d->ttl = (uint32_t)mtws__min_u64(d->ttl, reply->ttl);
        d->no_data = d->no_data || said == MTWS__DNS_NO_DATA;
        d->good = t->server;
        set->known = true;
        set->count = (uint8_t)reply->count;
        memcpy(set->bytes, reply->bytes, sizeof set->bytes);
        return;
    }
    bool again = (said == MTWS__DNS_CUT && !t->stream) || (said == MTWS__DNS_PLAIN && t->edns);
    for (int i = 0; i < MTWS__DNS_TRIES_MAX && said == MTWS__DNS_CUT; i++) {
        const mtws__dns_try *other = &d->tries[i];
        if (other->open != 0 && other->stream && other->server == t->server && i != slot) return;
    }
    if (!again) {
        d->failed = (uint8_t)(d->failed | 1u << t->server);
        return;
    }
    if (said == MTWS__DNS_PLAIN && (d->plain >> t->server & 1) != 0) return; /* asked already */
    if (said == MTWS__DNS_PLAIN) d->plain = (uint8_t)(d->plain | 1u << t->server);
    d->again = t->server;
    d->by_stream = said == MTWS__DNS_CUT;
    d->due_us = 0;
}

/* A message came on the slot's socket. */
MTWS_PRIVATE void mtws__dns_answer(mtws__dns *d, int slot, mtws__span message) {
    mtws__dns_try *t = &d->tries[slot];
    for (int i = 0; i < MTWS__FAMILIES; i++) {
        uint8_t query[MTWS__DNS_QUERY_MAX];
        mtws__dns_reply reply;
        size_t asked;
        if ((t->open >> i & 1) == 0) continue;
        mtws__dns_question(d, slot, i, query, &asked);
        uint16_t type = i == MTWS__IPV6 ? MTWS__DNS_AAAA : MTWS__DNS_A;
        mtws__dns_said said = mtws__dns_parse(message, query, asked, type, &reply);
        if (said == MTWS__DNS_FOREIGN) continue;
        t->open = (uint8_t)(t->open & ~(1u << i));
        if ((d->need >> i & 1) != 0) mtws__dns_heard(d, slot, i, said, &reply);
        /* Who has said all that it can say need not be waited for. */
        if (t->open == 0 && slot == d->last && d->need != 0) d->due_us = 0;
        return;
    }
}

/* Where the next bytes of the stream belong, and how many; 0: a message is larger than
 * MTWS_DNS_ANSWER_MAX, or is none. */
MTWS_PRIVATE size_t mtws__dns_stream_room(mtws__dns *d, uint8_t **to) {
    *to = d->answer + d->answer_size;
    if (d->answer_size < 2) return 2 - d->answer_size;
    size_t size = (size_t)mtws__load_big(d->answer, 2);
    bool good = size >= MTWS__DNS_HEADER_SIZE && size <= MTWS_DNS_ANSWER_MAX;
    return good ? size + 2 - d->answer_size : 0;
}

/* So many bytes of the stream came. */
MTWS_PRIVATE void mtws__dns_stream_in(mtws__dns *d, int slot, size_t size) {
    uint8_t *to;
    d->answer_size += size;
    if (d->answer_size < 2 || mtws__dns_stream_room(d, &to) > 0) return;
    mtws__span message;
    message.data = d->answer + 2;
    message.size = d->answer_size - 2;
    if (message.size == 0) return; /* no room says what is wrong */
    d->answer_size = 0;
    mtws__dns_answer(d, slot, message);
}

/* ==========================================================================
 * >>race                                      RFC 8305
 * uses: bytes, dns
 * Happy Eyeballs: which of a name's addresses is tried next, and when. They are taken in the order
 * in which servers name them: what RFC 6724 would sort them by, the system's routes, shows itself
 * at once where a connection is tried. Pure.
 */

enum {
    MTWS__RACE_MAX = (int)MTWS__FAMILIES * (int)MTWS__DNS_FAMILY_MAX,
    MTWS__RUNNERS_MAX = 3,         /* attempts at a time */
    MTWS__RACE_DELAY_US = 250000,  /* before the next attempt, while others are under way; ... */
    MTWS__RACE_SHARES = 10,        /* ... a tenth of the time that there is for all, if less, ... */
    MTWS__RACE_LEAST_US = 10000,   /* ... but not under RFC 8305's least */
    MTWS__RACE_FAMILY_US = 50000,  /* for the answer of the family that is preferred */
    MTWS__RACE_RUNNER_US = 3000000 /* an attempt has at least, where there are many addresses */
};

typedef enum mtws__race_fate { MTWS__RACE_WAITS, MTWS__RACE_RUNS, MTWS__RACE_LOST } mtws__race_fate;

typedef struct mtws__race {
    mtws__ip ips[MTWS__RACE_MAX];
    mtws__race_fate fates[MTWS__RACE_MAX];
    uint64_t started_us[MTWS__RACE_MAX];
    int count, running;
    bool begun;        /* an attempt was made */
    int turn;          /* the family to try next */
    unsigned skip;     /* each family begins behind so many of its addresses */
    uint64_t first_us; /* when an address was first known */
    uint64_t next_us;  /* no further attempt before, while others are under way */
    uint64_t delay_us; /* between attempts */
} mtws__race;

/* The delay where there is so much time for all that opens a connection. */
MTWS_PRIVATE uint64_t mtws__race_delay_us(uint64_t time_us) {
    uint64_t share_us = mtws__max_u64(time_us / MTWS__RACE_SHARES, MTWS__RACE_LEAST_US);
    return mtws__min_u64(share_us, MTWS__RACE_DELAY_US);
}

/* family: where to begin. */
MTWS_PRIVATE void mtws__race_start(mtws__race *r, int family, unsigned skip, uint64_t delay_us) {
    memset(r, 0, sizeof *r);
    r->turn = family;
    r->skip = skip;
    r->delay_us = delay_us;
}

/* Adds an address, once: there may be one connection at a time to each that is being opened (RFC
 * 6455 section 4.1). */
MTWS_PRIVATE void mtws__race_add(mtws__race *r, const mtws__ip *ip, uint64_t now_us) {
    int same = 0;
    for (int i = 0; i < r->count; i++) {
        if (mtws__ip_same(&r->ips[i], ip)) return;
        same += r->ips[i].six == ip->six;
    }
    if (same == MTWS__DNS_FAMILY_MAX) return;
    if (r->count == 0) r->first_us = now_us;
    r->fates[r->count] = MTWS__RACE_WAITS;
    r->ips[r->count++] = *ip;
}

/* The next address of a family, by its index; -1: all were tried. */
MTWS_PRIVATE int mtws__race_pick(const mtws__race *r, int family) {
    int own[MTWS__DNS_FAMILY_MAX];
    unsigned count = 0;
    for (int i = 0; i < r->count; i++) {
        if (r->ips[i].six == (family == MTWS__IPV6)) own[count++] = i;
    }
    for (unsigned i = 0; i < count; i++) {
        int index = own[(r->skip + i) % count];
        if (r->fates[index] == MTWS__RACE_WAITS) return index;
    }
    return -1;
}

/* The attempt that has been under way longest; -1: none is. */
MTWS_PRIVATE int mtws__race_oldest(const mtws__race *r) {
    int oldest = -1;
    for (int i = 0; i < r->count; i++) {
        if (r->fates[i] != MTWS__RACE_RUNS) continue;
        if (oldest < 0 || r->started_us[i] < r->started_us[oldest]) oldest = i;
    }
    return oldest;
}

/* When the next attempt may begin; UINT64_MAX: there is nothing to try. pending: the preferred
 * family's addresses may still come. */
MTWS_PRIVATE uint64_t mtws__race_due_us(const mtws__race *r, bool pending) {
    bool preferred = mtws__race_pick(r, r->turn) >= 0;
    if (!preferred && mtws__race_pick(r, 1 - r->turn) < 0) return UINT64_MAX;
    uint64_t at = 0;
    if (!r->begun && !preferred && pending) {
        at = mtws__add_u64(r->first_us, MTWS__RACE_FAMILY_US);
    }
    if (r->running > 0) at = r->next_us;
    if (r->running == MTWS__RUNNERS_MAX) {
        uint64_t oldest_us = r->started_us[mtws__race_oldest(r)];
        at = mtws__max_u64(at, mtws__add_u64(oldest_us, MTWS__RACE_RUNNER_US));
    }
    return at;
}

/* The address to try now, by its index; -1: none yet. The families take turns. */
MTWS_PRIVATE int mtws__race_next(mtws__race *r, bool pending, uint64_t now_us) {
    if (mtws__race_due_us(r, pending) > now_us) return -1;
    int index = mtws__race_pick(r, r->turn);
    if (index < 0) index = mtws__race_pick(r, 1 - r->turn);
    MTWS_ASSERT(index >= 0);
    r->turn = r->ips[index].six ? MTWS__IPV4 : MTWS__IPV6;
    r->fates[index] = MTWS__RACE_RUNS;
    r->started_us[index] = now_us;
    r->next_us = mtws__add_u64(now_us, r->delay_us);
    r->begun = true;
    r->running++;
    return index;
}

/* An attempt failed: the next one need not wait. */
MTWS_PRIVATE void mtws__race_lose(mtws__race *r, int index) {
    MTWS_ASSERT(r->fates[index] == MTWS__RACE_RUNS);
    r->fates[index] = MTWS__RACE_LOST;
    r->running--;
    r->next_us = 0;
}

/* ==========================================================================
 * >>net
 * uses: platform, bytes, random, url, dns, race
 * Names and non-blocking TCP, as an mtws_transport. Its owner sets now_us and random before each
 * call, and does not call it again before it has to.
 */

enum {
    /* With two more of a client's own they are MTWS_WAIT_MAX. */
    MTWS__NET_SOCKETS = (int)MTWS__RUNNERS_MAX + (int)MTWS__DNS_TRIES_MAX,
    MTWS__NET_FILE_SIZE = 4096, /* bytes of a file read at once ... */
    MTWS__NET_FILE_READS = 16,  /* ... and so many times a call */
    MTWS__NET_READS = 4         /* messages of one server a call */
};

typedef enum mtws__net_stage {
    MTWS__NET_IDLE,
    MTWS__NET_HOSTS,  /* the hosts file is being read */
    MTWS__NET_ASKING, /* name servers are being asked; connections are tried already */
    MTWS__NET_KNOWN,  /* all addresses are known */
    MTWS__NET_OPEN    /* fd is connected */
} mtws__net_stage;

typedef struct mtws__socket {
    int fd; /* -1: none */
    uint32_t serial;
    bool seen;    /* it was there when mtws_poll last returned, so an event loop may know it */
    bool writing; /* of a name server by TCP: it waits to be written to */
    size_t sent;  /* ... behind so many bytes */
    int index;    /* of an attempt: the address in the race */
} mtws__socket;

/* Attempts come first, a socket for each runner, then those of name servers, one for each try. */
typedef struct mtws__net {
    uint64_t now_us;
    mtws__random *random;
    mtws_resolver resolver;
    mtws__net_stage stage;
    int fd;          /* the connection; -1: none yet */
    uint32_t serial; /* the latest that was given out */
    mtws__socket sockets[MTWS__NET_SOCKETS];
    int retired[MTWS__NET_SOCKETS]; /* descriptors that stay open until the next mtws_poll */
    int retired_count;
    int file; /* hosts; -1 */
    char host[MTWS__HOST_MAX + 1];
    bool absolute; /* the host had a final dot */
    uint16_t port;
    bool listed; /* hosts has the name */
    mtws__hosts hosts;
    mtws__stamp resolv; /* of the configuration that was read */
    bool configured;
    bool asked; /* this host is one that servers are asked for */
    mtws__dns_server servers[MTWS__DNS_SERVERS_MAX]; /* options.dns_servers */
    int server_count;
    mtws__dns dns;
    bool taken[MTWS__FAMILIES]; /* the family's answer is in the race */
    mtws__race race;
    int family;                     /* the one to begin with: of the connection that won last */
    unsigned skip;                  /* of its addresses: those that led to nothing */
    uint64_t delay_us;              /* of the race */
    mtws__ip known[MTWS__RACE_MAX]; /* addresses that the name last had */
    int known_count;
    int error;       /* the last errno; after MTWS_ERR_RESOLVE by the system, what it says */
    const char *why; /* of MTWS_ERR_RESOLVE; NULL: error says */
} mtws__net;

MTWS_PRIVATE void mtws__net_start(mtws__net *net) {
    memset(net, 0, sizeof *net);
    net->fd = net->file = -1;
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) net->sockets[i].fd = -1;
    net->family = MTWS__IPV6;
    net->delay_us = MTWS__RACE_DELAY_US;
    mtws__dns_open(&net->dns);
}

/* How names are resolved: options.resolver, dns_servers, where not NULL, and dns_timeout_ms; all of
 * them good. */
MTWS_PRIVATE void mtws__net_names(mtws__net *net, mtws_resolver resolver, const char *servers,
                                  int32_t timeout_ms) {
    mtws__dns_config given;
    net->resolver = resolver;
    net->dns.timeout_ms = (uint32_t)timeout_ms;
    if (servers == NULL) return;
    mtws__dns_config_start(&given);
    mtws__dns_servers_parse(servers, &given);
    memcpy(net->servers, given.servers, sizeof net->servers);
    net->server_count = given.server_count;
}

/* options.connect_timeout_ms: so much time there is for all. */
MTWS_PRIVATE void mtws__net_time(mtws__net *net, int32_t ms) {
    net->delay_us = mtws__race_delay_us((uint64_t)ms * 1000);
}

/* Closes what an event loop has had the time to forget. */
MTWS_PRIVATE void mtws__net_sweep(mtws__net *net) {
    while (net->retired_count > 0) mtws__os_close(net->retired[--net->retired_count]);
}

/* mtws_poll returns: an event loop may know what is open now. */
MTWS_PRIVATE void mtws__net_show(mtws__net *net) {
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) net->sockets[i].seen = net->sockets[i].fd >= 0;
}

/* A descriptor that an event loop may know is not closed under it, but the peer hears at once.
 * There is room for all that were seen, since what was retired before is swept first; but not where
 * a client is destroyed, which keeps none. */
MTWS_PRIVATE void mtws__net_drop(mtws__net *net, int slot) {
    mtws__socket *s = &net->sockets[slot];
    if (s->fd < 0) return;
    if (s->seen && net->retired_count < MTWS__NET_SOCKETS) {
        mtws__os_shutdown(s->fd, true);
        net->retired[net->retired_count++] = s->fd;
    } else {
        mtws__os_close(s->fd);
    }
    s->fd = -1;
    s->seen = s->writing = false;
}

MTWS_PRIVATE void mtws__net_put(mtws__net *net, int slot, int fd) {
    mtws__socket *s = &net->sockets[slot];
    mtws__net_drop(net, slot);
    s->fd = fd;
    s->serial = ++net->serial;
    s->sent = 0;
    s->writing = false;
}

MTWS_PRIVATE void mtws__net_address(const mtws__ip *ip, uint16_t port, mtws__address *out) {
    mtws__os_address(out, ip->six, ip->bytes, ip->zone, port);
}

/* The attempt leads to nothing: the next one asks for the name again, where that was long enough
 * ago; it does not begin with an address that never answered, or that could be connected to and was
 * of no use, nor with its family. */
MTWS_PRIVATE void mtws__net_doubt(mtws__net *net) {
    if (net->stage == MTWS__NET_OPEN || net->race.running > 0) {
        net->skip++;
        net->family = net->family == MTWS__IPV6 ? MTWS__IPV4 : MTWS__IPV6;
    }
    net->race.running = 0;
    mtws__dns_finish(&net->dns, net->now_us);
    if (net->asked) mtws__dns_doubt(&net->dns);
}

/* The network may be another one, and names may lead elsewhere. */
MTWS_PRIVATE void mtws__net_changed(mtws__net *net) { mtws__dns_doubt_all(&net->dns); }

/* Another host: what is known of the last one does not count. */
MTWS_PRIVATE void mtws__net_forget(mtws__net *net) {
    net->known_count = 0;
    net->skip = 0;
    net->asked = false;
}

MTWS_PRIVATE void mtws__net_close(void *ctx) {
    mtws__net *net = (mtws__net *)ctx;
    if (net->stage != MTWS__NET_IDLE && net->stage != MTWS__NET_OPEN) mtws__net_doubt(net);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) mtws__net_drop(net, i);
    if (net->file >= 0) mtws__os_close(net->file);
    net->fd = net->file = -1;
    net->stage = MTWS__NET_IDLE;
}

/* ---- names ---------------------------------------------------------------------------------- */

MTWS_PRIVATE void mtws__net_add(mtws__net *net, const mtws__ip *ip) {
    mtws__race_add(&net->race, ip, net->now_us);
    memcpy(net->known, net->race.ips, sizeof net->known);
    net->known_count = net->race.count;
}

/* This machine (RFC 6761 section 6.3). */
MTWS_PRIVATE void mtws__net_add_loopback(mtws__net *net) {
    mtws__ip ip;
    memset(&ip, 0, sizeof ip);
    ip.six = true;
    ip.bytes[15] = 1;
    mtws__net_add(net, &ip);
    ip.six = false;
    memcpy(ip.bytes, "\x7f\0\0\1", 4);
    ip.bytes[15] = 0;
    mtws__net_add(net, &ip);
}

MTWS_PRIVATE bool mtws__net_is_under(const mtws__net *net, const char *domain) {
    return mtws__url_is_under(mtws__span_of(net->host), mtws__span_of(domain));
}

/* The system's resolver: blocks. */
MTWS_PRIVATE int mtws__net_ask_system(mtws__net *net) {
    mtws__address list[MTWS__ADDRESSES_MAX];
    int count;
    char host[MTWS__HOST_MAX + 2];
    snprintf(host, sizeof host, "%s%s", net->host, net->absolute ? "." : "");
    net->error = mtws__os_resolve(host, net->port, list, &count);
    if (net->error != 0) return MTWS_ERR_RESOLVE;
    for (int i = 0; i < count; i++) {
        mtws__ip ip;
        mtws__writer w;
        uint32_t zone;
        memset(&ip, 0, sizeof ip);
        ip.six = mtws__os_address_bytes(&list[i], ip.bytes, &zone);
        mtws__writer_open(&w, ip.zone, sizeof ip.zone);
        if (zone != 0) mtws__writer_number(&w, zone);
        mtws__net_add(net, &ip);
    }
    net->stage = MTWS__NET_KNOWN;
    return 0;
}

/* Reads resolv.conf where it has changed. One that is longer than any is cut off; one that can't be
 * read just now is, the next time. */
MTWS_PRIVATE void mtws__net_configure(mtws__net *net) {
    static const char path[] = "/etc/resolv.conf";
    mtws__stamp stamp;
    bool there = mtws__os_file_stamp(path, &stamp), whole = false;
    if (net->configured && memcmp(&stamp, &net->resolv, sizeof stamp) == 0) return;
    mtws__dns_config config;
    mtws__words words;
    mtws__dns_config_start(&config);
    memset(&words, 0, sizeof words);
    int fd = mtws__os_config_open(path);
    bool more = fd >= 0;
    for (int i = 0; i < MTWS__NET_FILE_READS && more; i++) {
        uint8_t bytes[MTWS__NET_FILE_SIZE];
        ptrdiff_t got = mtws__os_file_read(fd, bytes, sizeof bytes);
        more = got > 0;
        whole = got >= 0;
        if (!more) bytes[0] = '\n';
        mtws__span span;
        span.data = bytes;
        span.size = more ? (size_t)got : 1;
        while (mtws__words_next(&words, &span)) {
            mtws__dns_config_word(&config, words.text, words.place);
        }
    }
    if (fd >= 0) mtws__os_close(fd);
    if (net->configured && there && !whole) return;
    if (net->server_count > 0) {
        memcpy(config.servers, net->servers, sizeof config.servers);
        config.server_count = net->server_count;
    } else if (config.server_count == 0) {
        mtws__ip ip; /* resolv.conf(5): the name server on this machine */
        mtws__ip_parse(mtws__span_of("127.0.0.1"), &ip);
        mtws__dns_config_server(&config, &ip, MTWS__DNS_PORT);
    }
    mtws__dns_configure(&net->dns, &config);
    net->resolv = stamp;
    net->configured = whole || !there;
}

/* What hosts does not know is asked for. */
MTWS_PRIVATE int mtws__net_ask_servers(mtws__net *net) {
    net->why = "it is no name that can be looked up";
    if (!mtws__dns_name_ok(net->host)) return MTWS_ERR_RESOLVE;
    net->why = "a name that ends with a number is not looked up";
    if (mtws__dns_is_number(net->host)) return MTWS_ERR_RESOLVE;
    net->why = "names under onion are not for name servers (RFC 7686): go through Tor's socks5://";
    if (mtws__net_is_under(net, "onion")) return MTWS_ERR_RESOLVE;
    net->why = NULL;
    mtws__net_configure(net);
    net->asked = true;
    mtws__dns_start(&net->dns, net->host, net->absolute, net->now_us);
    net->stage = MTWS__NET_ASKING;
    return 0;
}

/* Reads some more of hosts; behind its end it is known what it says. */
MTWS_PRIVATE int mtws__net_read_hosts(mtws__net *net) {
    for (int i = 0; i < MTWS__NET_FILE_READS; i++) {
        uint8_t bytes[MTWS__NET_FILE_SIZE];
        ptrdiff_t got = net->file < 0 ? 0 : mtws__os_file_read(net->file, bytes, sizeof bytes);
        if (got <= 0) bytes[0] = '\n';
        mtws__span span;
        mtws__ip ip;
        span.data = bytes;
        span.size = got > 0 ? (size_t)got : 1;
        while (mtws__hosts_next(&net->hosts, net->host, &span, &ip)) {
            net->listed = true;
            if (!mtws__ip_is_nobody(ip.bytes, ip.six)) mtws__net_add(net, &ip);
        }
        if (got > 0) continue;
        if (net->file >= 0) mtws__os_close(net->file);
        net->file = -1;
        if (!net->listed) return mtws__net_ask_servers(net);
        net->stage = MTWS__NET_KNOWN;
        net->why = "/etc/hosts says that it is nowhere";
        return net->race.count > 0 ? 0 : MTWS_ERR_RESOLVE;
    }
    return 0;
}

/* Begins an attempt: what can be known at once is. */
MTWS_PRIVATE int mtws__net_begin(mtws__net *net, const char *host, uint16_t port) {
    mtws__ip ip;
    size_t size = strlen(host);
    MTWS_ASSERT(size > 0 && size <= MTWS__HOST_MAX);
    net->absolute = size > 1 && host[size - 1] == '.';
    if (net->absolute) size--;
    memcpy(net->host, host, size);
    net->host[size] = 0;
    net->port = port;
    net->error = 0;
    net->why = NULL;
    net->listed = net->asked = false;
    memset(&net->hosts, 0, sizeof net->hosts);
    memset(net->taken, 0, sizeof net->taken);
    mtws__race_start(&net->race, net->family, net->skip, net->delay_us);
    net->stage = MTWS__NET_KNOWN;
    if (mtws__ip_parse(mtws__span_of(net->host), &ip)) {
        mtws__net_add(net, &ip);
        return 0;
    }
    if (mtws__net_is_under(net, "localhost")) {
        mtws__net_add_loopback(net);
        return 0;
    }
    if (net->resolver == MTWS_RESOLVER_SYSTEM) return mtws__net_ask_system(net);
    net->stage = MTWS__NET_HOSTS;
    net->file = mtws__os_config_open("/etc/hosts");
    return 0;
}

/* ---- name servers --------------------------------------------------------------------------- */

/* Opens a socket for a try's questions, and sends them where they are datagrams. */
MTWS_PRIVATE void mtws__net_send_questions(mtws__net *net, int try_slot) {
    const mtws__dns_try *t = &net->dns.tries[try_slot];
    const mtws__dns_server *server = &net->dns.config.servers[t->server];
    int slot = MTWS__RUNNERS_MAX + try_slot, error = 0;
    mtws__address address;
    mtws__net_address(&server->ip, server->port, &address);
    int fd = t->stream ? mtws__os_socket(address.storage.ss_family) : mtws__os_datagram(&address);
    if (fd < 0) error = errno;
    mtws__net_put(net, slot, fd);
    if (fd >= 0 && t->stream) {
        error = mtws__os_connect(fd, &address);
        if (error == EINPROGRESS) error = 0;
        net->sockets[slot].writing = true;
    }
    for (int i = 0; i < MTWS__FAMILIES && error == 0 && !t->stream; i++) {
        uint8_t query[MTWS__DNS_QUERY_MAX];
        size_t asked;
        if ((t->asked >> i & 1) == 0) continue;
        size_t size = mtws__dns_question(&net->dns, try_slot, i, query, &asked);
        ptrdiff_t put = mtws__os_send(fd, query, size);
        if (put < 0 && put != -EAGAIN) error = (int)-put;
    }
    if (error == 0) return;
    net->error = error;
    mtws__dns_lost(&net->dns, try_slot);
    mtws__net_drop(net, slot);
}

/* Takes the datagrams that came for a try. False: its server can't be reached. */
MTWS_PRIVATE bool mtws__net_read_answers(mtws__net *net, int try_slot) {
    uint8_t bytes[MTWS__DNS_UDP_MAX + 1]; /* a longer one is none of ours */
    mtws__span message;
    message.data = bytes;
    for (int i = 0; i < MTWS__NET_READS && net->dns.tries[try_slot].open != 0; i++) {
        int fd = net->sockets[MTWS__RUNNERS_MAX + try_slot].fd;
        ptrdiff_t got = mtws__os_receive(fd, bytes, sizeof bytes);
        if (got == -EAGAIN) return true;
        if (got < 0) net->error = (int)-got;
        if (got < 0) return false;
        message.size = (size_t)got;
        if (message.size < sizeof bytes) mtws__dns_answer(&net->dns, try_slot, message);
    }
    return true;
}

/* Goes on with a stream to a name server. False: it has broken. */
MTWS_PRIVATE bool mtws__net_stream(mtws__net *net, int try_slot) {
    mtws__socket *s = &net->sockets[MTWS__RUNNERS_MAX + try_slot];
    if (s->writing) {
        uint8_t out[2 * (2 + MTWS__DNS_QUERY_MAX)];
        int error = mtws__os_connected(s->fd);
        if (error == EINPROGRESS) return true;
        if (error != 0) net->error = error;
        if (error != 0) return false;
        size_t size = mtws__dns_stream_out(&net->dns, try_slot, out);
        ptrdiff_t put = mtws__os_send(s->fd, out + s->sent, size - s->sent);
        if (put < 0 && put != -EAGAIN) return false;
        if (put > 0) s->sent += (size_t)put;
        s->writing = s->sent < size;
    }
    for (int i = 0; i < 2 * MTWS__NET_READS && net->dns.tries[try_slot].open != 0; i++) {
        uint8_t *to;
        size_t room = mtws__dns_stream_room(&net->dns, &to);
        ptrdiff_t got = room == 0 ? 0 : mtws__os_receive(s->fd, to, room);
        if (got == -EAGAIN) return true;
        if (got <= 0) return false;
        mtws__dns_stream_in(&net->dns, try_slot, (size_t)got);
    }
    return true;
}

/* Asks name servers: what came is read before it is judged who was silent. */
MTWS_PRIVATE void mtws__net_ask(mtws__net *net) {
    mtws__dns *d = &net->dns;
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) {
        if (net->sockets[MTWS__RUNNERS_MAX + i].fd < 0) continue;
        bool good = d->tries[i].stream ? mtws__net_stream(net, i) : mtws__net_read_answers(net, i);
        if (!good) mtws__dns_lost(d, i);
    }
    int slot;
    while (mtws__dns_next(d, net->now_us, net->random, &slot) == MTWS__DNS_SEND) {
        mtws__net_send_questions(net, slot);
    }
    for (int i = 0; i < MTWS__DNS_TRIES_MAX; i++) {
        if (d->tries[i].open == 0) mtws__net_drop(net, MTWS__RUNNERS_MAX + i);
    }
    for (int family = 0; family < MTWS__FAMILIES; family++) {
        const mtws__dns_set *set = &d->sets[family];
        if (net->taken[family] || set->count == 0) continue;
        net->taken[family] = true;
        for (int i = 0; i < set->count; i++) {
            mtws__ip ip;
            memset(&ip, 0, sizeof ip);
            ip.six = family == MTWS__IPV6;
            memcpy(ip.bytes, set->bytes[i], sizeof ip.bytes);
            mtws__net_add(net, &ip);
        }
    }
    if (d->outcome != MTWS__DNS_OUTCOME_ASKING) net->stage = MTWS__NET_KNOWN;
}

/* ---- connections ---------------------------------------------------------------------------- */

/* This one won: the others are closed, and nobody is asked any more. */
MTWS_PRIVATE void mtws__net_win(mtws__net *net, int slot) {
    const mtws__ip *ip = &net->race.ips[net->sockets[slot].index];
    net->family = ip->six ? MTWS__IPV6 : MTWS__IPV4;
    net->fd = net->sockets[slot].fd;
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
        if (i != slot) mtws__net_drop(net, i);
    }
    mtws__dns_finish(&net->dns, net->now_us);
    net->stage = MTWS__NET_OPEN;
}

/* Looks how an attempt goes; an address that does not answer is given up. True: it is connected. */
MTWS_PRIVATE bool mtws__net_judge(mtws__net *net, int slot, int error) {
    if (error == EINPROGRESS) return false;
    if (error == 0 && mtws__os_is_self(net->sockets[slot].fd)) error = ECONNREFUSED;
    if (error == 0) {
        mtws__net_win(net, slot);
        return true;
    }
    net->error = error;
    mtws__race_lose(&net->race, net->sockets[slot].index);
    mtws__net_drop(net, slot);
    return false;
}

/* Makes an attempt with an address of the race. True: it is connected at once. */
MTWS_PRIVATE bool mtws__net_try(mtws__net *net, int index) {
    mtws__address address;
    int slot = 0;
    if (net->race.running > MTWS__RUNNERS_MAX) { /* the oldest has had its time */
        int oldest = mtws__race_oldest(&net->race);
        while (net->sockets[slot].index != oldest) slot++; /* all of them run */
        mtws__net_judge(net, slot, ETIMEDOUT);
    }
    while (net->sockets[slot].fd >= 0) slot++;
    MTWS_ASSERT(slot < MTWS__RUNNERS_MAX);
    mtws__net_address(&net->race.ips[index], net->port, &address);
    int fd = mtws__os_socket(address.storage.ss_family);
    int error = fd < 0 ? errno : mtws__os_connect(fd, &address);
    mtws__net_put(net, slot, fd);
    net->sockets[slot].index = index;
    return mtws__net_judge(net, slot, error);
}

/* Whether the answer for the family whose turn it is may still come. */
MTWS_PRIVATE bool mtws__net_pending(const mtws__net *net) {
    return net->stage == MTWS__NET_ASKING && mtws__dns_pending(&net->dns, net->race.turn);
}

/* Goes on with all attempts, and makes the next one where it is due. */
MTWS_PRIVATE int mtws__net_race(mtws__net *net) {
    for (int i = 0; i < MTWS__RUNNERS_MAX; i++) {
        int fd = net->sockets[i].fd;
        if (fd >= 0 && mtws__net_judge(net, i, mtws__os_connected(fd))) return 0;
    }
    for (;;) {
        int index = mtws__race_next(&net->race, mtws__net_pending(net), net->now_us);
        if (index < 0) break;
        if (mtws__net_try(net, index)) return 0;
    }
    /* Where all addresses are known and none is being tried, none is left. */
    if (net->stage != MTWS__NET_KNOWN || net->race.running > 0) return MTWS_IO_AGAIN;
    return net->race.count > 0 ? MTWS_ERR_CONNECT : MTWS_ERR_RESOLVE;
}

MTWS_PRIVATE int mtws__net_open(void *ctx, const char *host, uint16_t port, bool tls) {
    mtws__net *net = (mtws__net *)ctx;
    if (tls) return MTWS_ERR_TLS;
    int result = 0;
    if (net->stage == MTWS__NET_IDLE) result = mtws__net_begin(net, host, port);
    if (result == 0 && net->stage == MTWS__NET_HOSTS) result = mtws__net_read_hosts(net);
    if (result == 0 && net->stage == MTWS__NET_ASKING) mtws__net_ask(net);
    return result != 0 ? result : mtws__net_race(net);
}

MTWS_PRIVATE ptrdiff_t mtws__net_read(void *ctx, void *out, size_t capacity) {
    mtws__net *net = (mtws__net *)ctx;
    ptrdiff_t got = mtws__os_receive(net->fd, out, capacity);
    if (got > 0) return got;
    if (got == -EAGAIN) return MTWS_IO_AGAIN;
    net->error = got == 0 ? 0 : (int)-got;
    return got == 0 ? MTWS_IO_EOF : MTWS_IO_ERROR;
}

MTWS_PRIVATE ptrdiff_t mtws__net_write(void *ctx, const void *data, size_t size) {
    mtws__net *net = (mtws__net *)ctx;
    ptrdiff_t put = mtws__os_send(net->fd, data, size);
    if (put > 0) return put;
    if (put == 0 || put == -EAGAIN) return MTWS_IO_AGAIN;
    net->error = (int)-put;
    return MTWS_IO_ERROR;
}

/* When there is something to do although no descriptor says so; UINT64_MAX: never. */
MTWS_PRIVATE uint64_t mtws__net_due_us(const mtws__net *net) {
    switch (net->stage) {
    case MTWS__NET_HOSTS: return 0;
    case MTWS__NET_ASKING:
    case MTWS__NET_KNOWN: break;
    default: return UINT64_MAX;
    }
    uint64_t at = mtws__race_due_us(&net->race, mtws__net_pending(net));
    return net->stage == MTWS__NET_ASKING ? mtws__min_u64(at, net->dns.due_us) : at;
}

MTWS_PRIVATE void mtws__net_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    const mtws__net *net = (const mtws__net *)ctx;
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
        const mtws__socket *s = &net->sockets[i];
        if (s->fd < 0) continue;
        bool open = s->fd == net->fd, runner = i < MTWS__RUNNERS_MAX && !open;
        mtws_wait_fd *wait = &out->fds[out->count++];
        wait->fd = s->fd;
        wait->serial = s->serial;
        wait->want_write = open ? want_write : runner || s->writing;
        wait->want_read = open ? want_read : !wait->want_write;
    }
    uint64_t due_us = mtws__net_due_us(net);
    if (due_us == UINT64_MAX) return;
    out->timeout_ms = mtws__ms_until(due_us, net->now_us);
}

/* Whether it is certain that there is no way to the target, or to any server that could tell where
 * it is. Loopback needs no network. */
MTWS_PRIVATE bool mtws__net_is_offline(const mtws__net *net) {
    mtws__address list[MTWS__RACE_MAX];
    int count = net->known_count;
    bool asking = count == 0 && net->asked;
    if (net->stage == MTWS__NET_HOSTS) return false; /* it may be the loopback */
    if (asking) count = net->dns.config.server_count;
    for (int i = 0; i < count; i++) {
        const mtws__ip *ip = asking ? &net->dns.config.servers[i].ip : &net->known[i];
        mtws__net_address(ip, MTWS__DNS_PORT, &list[i]);
        if (mtws__os_is_loopback(&list[i])) return false;
    }
    if (!mtws__os_has_interface()) return true;
    for (int i = 0; i < count; i++) {
        if (!mtws__os_unreachable(&list[i])) return false;
    }
    return count > 0;
}

/* Why the last attempt failed with MTWS_ERR_RESOLVE or _CONNECT, for people. */
MTWS_PRIVATE const char *mtws__net_why(const mtws__net *net, int result) {
    if (result != MTWS_ERR_RESOLVE) return mtws__os_error_text(net->error);
    if (net->why != NULL) return net->why;
    switch (net->dns.outcome) {
    case MTWS__DNS_OUTCOME_NO_NAME: return "there is no such name";
    case MTWS__DNS_OUTCOME_NO_DATA: return "the name has no address";
    case MTWS__DNS_OUTCOME_SILENT: return "no name server answered";
    case MTWS__DNS_OUTCOME_FAILED: return "the name servers could not resolve it";
    default: return mtws__os_resolve_text(net->error);
    }
}

/* What a connect timeout waited for. */
MTWS_PRIVATE const char *mtws__net_awaits(const mtws__net *net) {
    bool names = net->stage == MTWS__NET_ASKING && net->race.count == 0;
    return names ? "answer from a name server" : "connection";
}

/* Whether addresses are in use that are older than they should be, since no name server could be
 * asked. Said once. */
MTWS_PRIVATE bool mtws__net_is_stale(mtws__net *net) {
    bool stale = net->asked && net->dns.stale;
    net->dns.stale = false;
    return stale;
}

MTWS_PRIVATE void mtws__net_transport(mtws__net *net, mtws_transport *out) {
    out->open = mtws__net_open;
    out->read = mtws__net_read;
    out->write = mtws__net_write;
    out->wait = mtws__net_wait;
    out->close = mtws__net_close;
    out->ctx = net;
}

/* ==========================================================================
 * >>proxy                                     RFC 9110 section 9.3.6, RFC 1928, RFC 1929
 * uses: bytes, base64, url, http
 * A way through a proxy, by CONNECT or SOCKS5: what is said to it, what it may answer, and which
 * targets need none. Pure, but for the transport that reaches the proxy, which it stands on.
 */

typedef enum mtws__proxy_step {
    MTWS__PROXY_CLOSED,
    MTWS__PROXY_REACHING, /* the transport below is opening */
    MTWS__PROXY_GREETING, /* SOCKS5: which ways to log in there are */
    MTWS__PROXY_LOGIN,    /* SOCKS5: user and password */
    MTWS__PROXY_ASKING,   /* for the target */
    MTWS__PROXY_OPEN      /* bytes pass through */
} mtws__proxy_step;

enum {
    MTWS__PROXY_READS = 64,        /* in one call of open */
    MTWS__PROXY_READ_SIZE = 512,   /* each */
    MTWS__PROXY_INFORMATIONAL = 8, /* 1xx answers before the one that counts */
    MTWS__PROXY_WORD_MAX = 255,    /* RFC 1929: user and password, each */
    MTWS__PROXY_WHY_MAX = 160
};

typedef struct mtws__proxy {
    char text[MTWS_PROXY_MAX]; /* the URL; "": there is no proxy */
    mtws__url url;             /* lies in it */
    bool socks;
    char host[MTWS__HOST_MAX + 1];
    mtws_transport lower;
    char *room; /* what is being said, then what is answered */
    size_t room_size;
    mtws__proxy_step step;
    size_t out_size, out_at;
    bool output_ended; /* a write failed: the answer may say why */
    size_t reply_size; /* of SOCKS5, in room */
    mtws__http http;   /* of CONNECT, in room */
    int informational;
    uint16_t status; /* that CONNECT was refused with, or 0 */
    bool stubborn;   /* what it answered, no retry will mend */
    char why[MTWS__PROXY_WHY_MAX];
} mtws__proxy;

/* ---- the URL --------------------------------------------------------------------------------- */

/* User and password, decoded, in MTWS_PROXY_MAX bytes each; the URL's userinfo is cut at its first
 * colon (RFC 3986 section 3.2.1). False where a byte of them may not be. */
MTWS_PRIVATE bool mtws__proxy_words(const mtws__url *url, mtws__writer *user,
                                    mtws__writer *password) {
    mtws__span rest = url->userinfo;
    if (rest.size == 0) return true;
    mtws__span name = mtws__url_cut(&rest, ":");
    if (rest.size > 0) {
        rest.data++;
        rest.size--;
    }
    bool good = mtws__url_decode(user, name) && mtws__url_decode(password, rest);
    MTWS_ASSERT(!user->full && !password->full);
    return good;
}

/* "http://", "socks5://" or "socks5h://", an authority, and nothing more but a '/'. */
MTWS_PRIVATE bool mtws__proxy_parse(mtws__url *url, bool *socks, mtws__span text) {
    char words[2][MTWS_PROXY_MAX];
    mtws__writer user, password;
    memset(url, 0, sizeof *url);
    mtws__span scheme = mtws__url_cut(&text, ":");
    *socks = mtws__span_is(scheme, "socks5") || mtws__span_is(scheme, "socks5h");
    if (!*socks && !mtws__span_is(scheme, "http")) return false;
    url->port = *socks ? 1080 : 80;
    if (!mtws__url_authority(url, &text)) return false;
    if (text.size > 1 || (text.size == 1 && text.data[0] != '/')) return false;
    mtws__writer_open(&user, words[0], sizeof words[0]);
    mtws__writer_open(&password, words[1], sizeof words[1]);
    if (!mtws__proxy_words(url, &user, &password)) return false;
    if (url->userinfo.size == 0) return true;
    /* RFC 7617 section 2: a colon would end the user's name. */
    if (!*socks) return memchr(user.data, ':', user.size) == NULL;
    return user.size > 0 && user.size <= MTWS__PROXY_WORD_MAX &&
           password.size <= MTWS__PROXY_WORD_MAX;
}

/* What the text says about a proxy, "" that there is none. Nothing is kept. */
MTWS_PRIVATE mtws_result mtws__proxy_check(const char *text) {
    mtws__url url;
    bool socks;
    if (text[0] == 0) return MTWS_OK;
    if (strlen(text) >= MTWS_PROXY_MAX) return MTWS_ERR_TOO_BIG;
    return mtws__proxy_parse(&url, &socks, mtws__span_of(text)) ? MTWS_OK : MTWS_ERR_URL;
}

/* Takes a text that mtws__proxy_check is content with, while closed. */
MTWS_PRIVATE void mtws__proxy_set(mtws__proxy *p, const char *text) {
    MTWS_ASSERT(p->step == MTWS__PROXY_CLOSED && mtws__proxy_check(text) == MTWS_OK);
    memcpy(p->text, text, strlen(text) + 1);
    memset(&p->url, 0, sizeof p->url);
    if (text[0] != 0) mtws__proxy_parse(&p->url, &p->socks, mtws__span_of(p->text));
    if (p->url.host.size > 0) memcpy(p->host, p->url.host.data, p->url.host.size);
    p->host[p->url.host.size] = 0;
    p->why[0] = 0;
}

/* room is used from open until it has succeeded or failed. */
MTWS_PRIVATE void mtws__proxy_start(mtws__proxy *p, char *room, size_t room_size) {
    memset(p, 0, sizeof *p);
    p->room = room;
    p->room_size = room_size;
}

/* ---- what is said ---------------------------------------------------------------------------- */

/* The proxy, or what came in its place, will not do it. */
MTWS_PRIVATE int mtws__proxy_fail(mtws__proxy *p, bool stubborn, const char *text) {
    mtws__writer w;
    mtws__writer_open(&w, p->why, sizeof p->why);
    mtws__writer_text(&w, text);
    p->stubborn = stubborn;
    return MTWS_ERR_PROXY;
}

/* What the writer has is said next. MTWS_IO_AGAIN: it is on its way. */
MTWS_PRIVATE int mtws__proxy_say(mtws__proxy *p, const mtws__writer *w, mtws__proxy_step step) {
    p->step = step;
    p->out_at = p->reply_size = 0;
    p->out_size = w->size;
    if (!w->full) return MTWS_IO_AGAIN;
    return mtws__proxy_fail(p, true, "MTWS_ANSWER_MAX has no room for what the proxy is asked");
}

/* No header of the program's is among these: they are for the server. */
MTWS_PRIVATE int mtws__proxy_connect(mtws__proxy *p, const char *host, uint16_t port) {
    char words[2 * MTWS_PROXY_MAX];
    mtws__writer w, user, password;
    mtws__url target;
    memset(&target, 0, sizeof target);
    target.host = mtws__span_of(host);
    target.literal6 = strchr(host, ':') != NULL;
    target.port = port;
    mtws__writer_open(&w, p->room, p->room_size);
    mtws__writer_text(&w, "CONNECT ");
    mtws__url_put_host(&w, &target, true);
    mtws__writer_text(&w, " HTTP/1.1\r\nHost: ");
    mtws__url_put_host(&w, &target, true);
    if (p->url.userinfo.size > 0) {
        mtws__writer_open(&user, words, MTWS_PROXY_MAX);
        mtws__writer_open(&password, words + MTWS_PROXY_MAX, MTWS_PROXY_MAX);
        mtws__proxy_words(&p->url, &user, &password);
        mtws__writer_text(&user, ":");
        mtws__writer_put(&user, password.data, password.size);
        mtws__writer_text(&w, "\r\nProxy-Authorization: Basic ");
        mtws__base64_encode(&w, (const uint8_t *)user.data, user.size);
    }
    mtws__writer_text(&w, "\r\n\r\n");
    mtws__http_start(&p->http, p->room, p->room_size);
    return mtws__proxy_say(p, &w, MTWS__PROXY_ASKING);
}

/* The name goes as it is: the proxy may know what this machine can't resolve. */
MTWS_PRIVATE int mtws__proxy_socks_ask(mtws__proxy *p, const char *host, uint16_t port) {
    uint8_t head[5] = {5, 1, 0, 3, 0}, address[16], end[2];
    mtws__span name = mtws__span_of(host);
    mtws__writer w;
    size_t size = mtws__url_address(name, address);
    MTWS_ASSERT(name.size <= 255);
    if (size > 0) head[3] = size == 4 ? 1 : 4;
    head[4] = (uint8_t)name.size;
    mtws__store_big(end, sizeof end, port);
    mtws__writer_open(&w, p->room, p->room_size);
    mtws__writer_put(&w, head, size > 0 ? 4 : 5);
    if (size > 0) mtws__writer_put(&w, address, size);
    else mtws__writer_put(&w, host, name.size);
    mtws__writer_put(&w, end, sizeof end);
    return mtws__proxy_say(p, &w, MTWS__PROXY_ASKING);
}

MTWS_PRIVATE int mtws__proxy_socks_login(mtws__proxy *p) {
    char words[2][MTWS_PROXY_MAX];
    mtws__writer w, part[2];
    const uint8_t version = 1;
    for (int i = 0; i < 2; i++) mtws__writer_open(&part[i], words[i], sizeof words[i]);
    mtws__proxy_words(&p->url, &part[0], &part[1]);
    mtws__writer_open(&w, p->room, p->room_size);
    mtws__writer_put(&w, &version, 1);
    for (int i = 0; i < 2; i++) {
        uint8_t size = (uint8_t)part[i].size;
        mtws__writer_put(&w, &size, 1);
        mtws__writer_put(&w, part[i].data, part[i].size);
    }
    return mtws__proxy_say(p, &w, MTWS__PROXY_LOGIN);
}

MTWS_PRIVATE int mtws__proxy_socks_greet(mtws__proxy *p) {
    const uint8_t none[3] = {5, 1, 0}, both[4] = {5, 2, 0, 2};
    mtws__writer w;
    mtws__writer_open(&w, p->room, p->room_size);
    if (p->url.userinfo.size > 0) mtws__writer_put(&w, both, sizeof both);
    else mtws__writer_put(&w, none, sizeof none);
    return mtws__proxy_say(p, &w, MTWS__PROXY_GREETING);
}

/* ---- what it answers ------------------------------------------------------------------------- */

/* Whether a 407 offers Basic, or does not say what it offers. */
MTWS_PRIVATE bool mtws__proxy_offers_basic(const mtws__http *h) {
    size_t at = 0, fields = 0;
    const char *value;
    for (; (value = mtws__http_next(h, &at, "Proxy-Authenticate")) != NULL; fields++) {
        mtws__span rest = mtws__span_of(value);
        while (rest.size > 0) {
            mtws__span challenge = mtws__url_cut(&rest, ",");
            challenge = mtws__http_trim(challenge);
            if (mtws__span_is(mtws__url_cut(&challenge, " "), "Basic")) return true;
            if (rest.size > 0) {
                rest.data++;
                rest.size--;
            }
        }
    }
    return fields == 0;
}

/* A final answer that is not 2xx. */
MTWS_PRIVATE int mtws__proxy_refused(mtws__proxy *p) {
    uint16_t status = p->http.status;
    bool mended = status == 408 || status == 425 || status == 429 || status >= 500;
    const char *what = "";
    if (status == 407 || status == 401) { /* tinyproxy says 401 where they are wrong */
        what = p->url.userinfo.size > 0
                   ? ": it refused the user or the password"
                   : ": it wants user and password, as http://user:password@host:port";
        if (!mtws__proxy_offers_basic(&p->http)) what = ": it offers no Basic authentication";
    } else if (status == 403) {
        what = ": it does not allow this host or port";
    } else if (status >= 500) {
        what = ": it could not reach the server";
    } else if (status < 400) {
        what = ": a proxy's redirect is not followed";
    }
    p->status = status;
    p->stubborn = !mended;
    mtws__writer w;
    mtws__writer_open(&w, p->why, sizeof p->why);
    mtws__writer_text(&w, "the proxy answered CONNECT with ");
    mtws__writer_number(&w, status);
    mtws__writer_text(&w, what);
    return MTWS_ERR_PROXY;
}

/* 0: open; MTWS_IO_AGAIN: there is more to come. A 2xx has no body, whatever its fields say (RFC
 * 9110 section 9.3.6). */
MTWS_PRIVATE int mtws__proxy_hear_http(mtws__proxy *p, mtws__span *data) {
    while (data->size > 0) {
        size_t used = 0;
        int result = mtws__http_feed(&p->http, data->data, data->size, &used);
        data->data += used;
        data->size -= used;
        if (result == MTWS__HTTP_MORE) return MTWS_IO_AGAIN;
        if (result == MTWS__HTTP_TOO_BIG) {
            return mtws__proxy_fail(p, true,
                                    "the proxy's answer is larger than MTWS_ANSWER_MAX, or has "
                                    "over 128 fields");
        }
        if (result == MTWS__HTTP_BAD) {
            bool http = p->http.status != 0 ||
                        (p->http.total > 7 && memcmp(p->http.text, "HTTP/1.", 7) == 0);
            return mtws__proxy_fail(p, true,
                                    http ? "the proxy's answer is malformed"
                                         : "the proxy's answer is not HTTP/1: is it SOCKS5?");
        }
        if (p->http.status >= 300) return mtws__proxy_refused(p);
        if (p->http.status >= 200) return 0;
        if (p->http.status == 101 || ++p->informational > MTWS__PROXY_INFORMATIONAL) {
            return mtws__proxy_fail(p, true, "the proxy sent 1xx answers without end, or a 101");
        }
        mtws__http_start(&p->http, p->room, p->room_size);
    }
    return MTWS_IO_AGAIN;
}

/* RFC 1928 section 6 */
MTWS_PRIVATE int mtws__proxy_socks_refused(mtws__proxy *p, uint8_t code) {
    static const char *const texts[] = {
        "the proxy failed",
        "the proxy does not allow this host or port",
        "the proxy has no way to the server's network",
        "the proxy has no way to the server, or can't resolve its name",
        "the server refused the proxy's connection",
        "the proxy's packets to the server ran out of hops",
        "the proxy does not know CONNECT",
        "the proxy does not know this type of address",
    };
    MTWS_ASSERT(code > 0);
    bool known = code <= sizeof texts / sizeof texts[0];
    return mtws__proxy_fail(p, code == 2 || code == 7 || code == 8,
                            known ? texts[code - 1] : "the proxy failed, and does not say why");
}

/* Looks at a reply of SOCKS5 that is one byte longer now. 0: open; MTWS_IO_AGAIN: more is to come
 * or, where out_size is not out_at, to be said. */
MTWS_PRIVATE int mtws__proxy_hear_reply(mtws__proxy *p, const char *host, uint16_t port) {
    const uint8_t *r = (const uint8_t *)p->room;
    bool credentials = p->url.userinfo.size > 0;
    if (r[0] != (p->step == MTWS__PROXY_LOGIN ? 1 : 5)) {
        return mtws__proxy_fail(p, true, "the proxy's answer is not SOCKS5: is it HTTP?");
    }
    if (p->reply_size < 2) return MTWS_IO_AGAIN;
    if (p->step == MTWS__PROXY_LOGIN) {
        if (r[1] == 0) return mtws__proxy_socks_ask(p, host, port);
        return mtws__proxy_fail(p, true, "the proxy refused the user or the password");
    }
    if (p->step == MTWS__PROXY_GREETING) {
        if (r[1] == 0) return mtws__proxy_socks_ask(p, host, port);
        if (r[1] == 2 && credentials) return mtws__proxy_socks_login(p);
        if (r[1] != 255 || credentials) {
            return mtws__proxy_fail(p, true, "the proxy wants another way to log in");
        }
        return mtws__proxy_fail(
            p, true, "the proxy wants user and password, as socks5://user:password@host:port");
    }
    if (r[1] != 0) return mtws__proxy_socks_refused(p, r[1]);
    if (p->reply_size < 5) return MTWS_IO_AGAIN;
    size_t address = r[3] == 1 ? 4 : r[3] == 4 ? 16 : (size_t)r[4] + 1;
    if (r[3] != 1 && r[3] != 3 && r[3] != 4) {
        return mtws__proxy_fail(p, true, "the proxy's answer is not SOCKS5: is it HTTP?");
    }
    return p->reply_size < 4 + address + 2 ? MTWS_IO_AGAIN : 0;
}

MTWS_PRIVATE int mtws__proxy_hear_socks(mtws__proxy *p, mtws__span *data, const char *host,
                                        uint16_t port) {
    int result = MTWS_IO_AGAIN;
    while (data->size > 0 && result == MTWS_IO_AGAIN && p->out_at == p->out_size) {
        if (p->reply_size == p->room_size) {
            return mtws__proxy_fail(p, true, "MTWS_ANSWER_MAX has no room for the proxy's answer");
        }
        p->room[p->reply_size++] = (char)*data->data++;
        data->size--;
        result = mtws__proxy_hear_reply(p, host, port);
    }
    return result;
}

/* Takes what the proxy said. 0: open, MTWS_IO_AGAIN: not yet, MTWS_ERR_PROXY. What follows an
 * answer before anything was said to the server can't be the server's: it is refused. */
MTWS_PRIVATE int mtws__proxy_hear(mtws__proxy *p, mtws__span data, const char *host,
                                  uint16_t port) {
    int result =
        p->socks ? mtws__proxy_hear_socks(p, &data, host, port) : mtws__proxy_hear_http(p, &data);
    if (result == MTWS_ERR_PROXY) return result;
    if (data.size > 0) {
        return mtws__proxy_fail(p, true, "the proxy sent bytes behind its answer, unasked");
    }
    if (result == 0) p->step = MTWS__PROXY_OPEN;
    return result;
}

/* ---- the transport --------------------------------------------------------------------------- */

/* Writes what is to be said. False: there is no room now. */
MTWS_PRIVATE bool mtws__proxy_flush(mtws__proxy *p) {
    while (p->out_at < p->out_size) {
        ptrdiff_t put = p->lower.write(p->lower.ctx, p->room + p->out_at, p->out_size - p->out_at);
        if (put == MTWS_IO_AGAIN || put == 0) return false;
        p->output_ended = put < 0;
        p->out_at = put < 0 ? p->out_size : p->out_at + (size_t)put;
    }
    return true;
}

/* The connection ended before it was open. */
MTWS_PRIVATE int mtws__proxy_lost(mtws__proxy *p, ptrdiff_t got) {
    if (got != MTWS_IO_EOF && got != MTWS_IO_ERROR) return (int)got;
    return mtws__proxy_fail(p, false,
                            got == MTWS_IO_EOF ? "the proxy closed the connection unanswered"
                                               : "the connection to the proxy broke");
}

MTWS_PRIVATE int mtws__proxy_open(void *ctx, const char *host, uint16_t port, bool tls) {
    mtws__proxy *p = (mtws__proxy *)ctx;
    if (tls) return MTWS_ERR_TLS;
    int result;
    if (p->step == MTWS__PROXY_CLOSED) {
        p->output_ended = p->stubborn = false;
        p->informational = p->status = 0;
        p->why[0] = 0;
        p->step = MTWS__PROXY_REACHING;
    }
    if (p->step == MTWS__PROXY_REACHING) {
        result = p->lower.open(p->lower.ctx, p->host, p->url.port, false);
        if (result != 0) return result;
        result = p->socks ? mtws__proxy_socks_greet(p) : mtws__proxy_connect(p, host, port);
        if (result != MTWS_IO_AGAIN) return result;
    }
    result = MTWS_IO_AGAIN;
    for (int i = 0; i < MTWS__PROXY_READS && result == MTWS_IO_AGAIN; i++) {
        uint8_t bytes[MTWS__PROXY_READ_SIZE];
        mtws__span data;
        if (!mtws__proxy_flush(p)) return MTWS_IO_AGAIN;
        ptrdiff_t got = p->lower.read(p->lower.ctx, bytes, sizeof bytes);
        if (got == MTWS_IO_AGAIN || got == 0) return MTWS_IO_AGAIN;
        if (got < 0) return mtws__proxy_lost(p, got);
        data.data = bytes;
        data.size = (size_t)got;
        result = mtws__proxy_hear(p, data, host, port);
    }
    return result;
}

MTWS_PRIVATE ptrdiff_t mtws__proxy_read(void *ctx, void *out, size_t capacity) {
    mtws__proxy *p = (mtws__proxy *)ctx;
    return p->lower.read(p->lower.ctx, out, capacity);
}

MTWS_PRIVATE ptrdiff_t mtws__proxy_write(void *ctx, const void *data, size_t size) {
    mtws__proxy *p = (mtws__proxy *)ctx;
    return p->lower.write(p->lower.ctx, data, size);
}

/* Nobody above waits for bytes before the way is open; this room does. */
MTWS_PRIVATE void mtws__proxy_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    mtws__proxy *p = (mtws__proxy *)ctx;
    if (p->step != MTWS__PROXY_OPEN) {
        want_write = p->step > MTWS__PROXY_REACHING && p->out_at < p->out_size;
        want_read = p->step > MTWS__PROXY_REACHING && !want_write;
    }
    p->lower.wait(p->lower.ctx, want_read, want_write, out);
}

MTWS_PRIVATE void mtws__proxy_close(void *ctx) {
    mtws__proxy *p = (mtws__proxy *)ctx;
    if (p->step != MTWS__PROXY_CLOSED) p->lower.close(p->lower.ctx);
    p->step = MTWS__PROXY_CLOSED;
}

/* Stands on the transport, and takes its place; where there is no proxy it stays what it is. */
MTWS_PRIVATE void mtws__proxy_transport(mtws__proxy *p, mtws_transport *transport) {
    if (p->text[0] == 0) return;
    p->lower = *transport;
    transport->open = mtws__proxy_open;
    transport->read = mtws__proxy_read;
    transport->write = mtws__proxy_write;
    transport->wait = mtws__proxy_wait;
    transport->close = mtws__proxy_close;
    transport->ctx = p;
}

/* ---- which targets need none ----------------------------------------------------------------- */

/* A name, or what it ends with behind a dot; dots at the ends don't count. */
MTWS_PRIVATE bool mtws__proxy_suffix(mtws__span word, mtws__span host) {
    if (word.size > 1 && memcmp(word.data, "*.", 2) == 0) word.data++, word.size--;
    if (word.size > 0 && word.data[0] == '.') word.data++, word.size--;
    if (word.size > 0 && word.data[word.size - 1] == '.') word.size--;
    if (host.size > 0 && host.data[host.size - 1] == '.') host.size--;
    return mtws__url_is_under(host, word);
}

/* "10.1.2.3", "10.0.0.0/8", "fd00::/8": whether the address is among them. */
MTWS_PRIVATE bool mtws__proxy_network(mtws__span word, const uint8_t *address, size_t size) {
    uint8_t network[16];
    mtws__span literal = mtws__url_cut(&word, "/");
    int32_t bits = (int32_t)size * 8;
    if (mtws__url_address(literal, network) != size) return false;
    if (word.size > 0) {
        word.data++;
        word.size--;
        bits = mtws__url_number(word, bits);
    }
    if (bits < 0) return false;
    size_t whole = (size_t)bits / 8;
    int rest = bits % 8;
    if (memcmp(network, address, whole) != 0) return false;
    return rest == 0 || (network[whole] ^ address[whole]) >> (8 - rest) == 0;
}

/* One word of no_proxy, which is not empty. */
MTWS_PRIVATE bool mtws__proxy_word_spares(mtws__span word, mtws__span host, uint16_t port) {
    uint8_t address[16];
    if (mtws__span_is(word, "*")) return true;
    mtws__span rest = word;
    mtws__span name = mtws__url_cut(&rest, ":");
    if (word.data[0] == '[') {
        rest.data = word.data + 1;
        rest.size = word.size - 1;
        name = mtws__url_cut(&rest, "]");
        if (rest.size == 0) return false;
        rest.data++;
        rest.size--;
        if (rest.size > 0 && rest.data[0] != ':') return false;
    } else if (rest.size > 1 && memchr(rest.data + 1, ':', rest.size - 1) != NULL) {
        name = word; /* an IPv6 literal, which has no port */
        rest.size = 0;
    }
    if (rest.size > 0) {
        rest.data++;
        rest.size--;
        if (mtws__url_number(rest, 65535) != port) return false;
    }
    size_t size = mtws__url_address(host, address);
    if (size > 0) return mtws__proxy_network(name, address, size);
    return mtws__proxy_suffix(name, host);
}

/* Whether a list in the form of no_proxy, its words parted by commas or spaces, has the target. */
MTWS_PRIVATE bool mtws__proxy_spares(const char *list, mtws__span host, uint16_t port) {
    while (*list != 0) {
        mtws__span word;
        word.data = (const uint8_t *)list;
        word.size = strcspn(list, ", \t");
        if (word.size > 0 && mtws__proxy_word_spares(word, host, port)) return true;
        list += word.size;
        list += strspn(list, ", \t");
    }
    return false;
}

/* ==========================================================================
 * >>way
 * uses: platform, bytes, random, net, proxy
 * The network as a transport of its own, in the memory of whoever wraps it. No client sweeps it, so
 * a descriptor that an event loop may know stays until the first call behind one of wait.
 */

typedef struct mtws__way {
    mtws__net net;
    mtws__proxy proxy;
    mtws_transport lower; /* the net, or the proxy over it */
    mtws__random random;
    int result; /* of the last call that failed; 0: none did */
    bool open;  /* or opening */
    bool told;  /* wait has said what is open now */
    char room[MTWS_ANSWER_MAX];
} mtws__way;

MTWS_PRIVATE void mtws__way_enter(mtws__way *way) {
    if (way->told || !way->open) mtws__net_sweep(&way->net);
    way->told = false;
    way->net.now_us = mtws__os_now_us();
}

MTWS_PRIVATE int mtws__way_open(void *ctx, const char *host, uint16_t port, bool tls) {
    mtws__way *way = (mtws__way *)ctx;
    uint8_t seed[32];
    mtws__way_enter(way);
    if (!way->open && !mtws__os_entropy(seed, sizeof seed)) {
        way->result = MTWS_ERR_ENTROPY;
        return MTWS_ERR_ENTROPY;
    }
    if (!way->open) {
        mtws__random_seed(&way->random, seed);
        mtws__wipe(seed, sizeof seed);
    }
    way->net.random = &way->random;
    way->result = 0;
    way->open = true;
    int result = way->lower.open(way->lower.ctx, host, port, tls);
    if (result != MTWS_IO_AGAIN) way->result = result;
    return result;
}

MTWS_PRIVATE ptrdiff_t mtws__way_read(void *ctx, void *out, size_t capacity) {
    mtws__way *way = (mtws__way *)ctx;
    mtws__way_enter(way);
    ptrdiff_t got = way->lower.read(way->lower.ctx, out, capacity);
    if (got < 0 && got != MTWS_IO_AGAIN) way->result = (int)got;
    return got;
}

MTWS_PRIVATE ptrdiff_t mtws__way_write(void *ctx, const void *data, size_t size) {
    mtws__way *way = (mtws__way *)ctx;
    mtws__way_enter(way);
    ptrdiff_t put = way->lower.write(way->lower.ctx, data, size);
    if (put < 0 && put != MTWS_IO_AGAIN) way->result = (int)put;
    return put;
}

MTWS_PRIVATE void mtws__way_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    mtws__way *way = (mtws__way *)ctx;
    way->net.now_us = mtws__os_now_us();
    way->lower.wait(way->lower.ctx, want_read, want_write, out);
    mtws__net_show(&way->net);
    way->told = true;
}

MTWS_PRIVATE void mtws__way_close(void *ctx) {
    mtws__way *way = (mtws__way *)ctx;
    mtws__way_enter(way);
    way->lower.close(way->lower.ctx);
    way->open = false;
}

/* The text is one that mtws__proxy_check is content with. */
MTWS_PRIVATE void mtws__way_set_proxy(mtws__way *way, const char *text) {
    mtws__proxy_set(&way->proxy, text);
    mtws__net_transport(&way->net, &way->lower);
    mtws__proxy_transport(&way->proxy, &way->lower);
}

MTWS_PRIVATE void mtws__way_start(mtws__way *way, mtws_transport *out) {
    memset(way, 0, sizeof *way);
    mtws__net_start(&way->net);
    mtws__proxy_start(&way->proxy, way->room, sizeof way->room);
    mtws__way_set_proxy(way, "");
    out->open = mtws__way_open;
    out->read = mtws__way_read;
    out->write = mtws__way_write;
    out->wait = mtws__way_wait;
    out->close = mtws__way_close;
    out->ctx = way;
}

MTWS_PRIVATE const char *mtws__way_reason(const mtws__way *way) {
    if (way->result == 0) return "";
    if (way->result == MTWS_ERR_PROXY) return way->proxy.why;
    if (way->result == MTWS_ERR_RESOLVE || way->result == MTWS_ERR_CONNECT) {
        return mtws__net_why(&way->net, way->result);
    }
    if (way->result == MTWS_ERR_ENTROPY) return "the system's random source failed";
    if (way->result == MTWS_ERR_TLS) return "the network has no TLS: open it with tls false";
    return way->net.error == 0 ? "end of stream" : mtws__os_error_text(way->net.error);
}

MTWS_PRIVATE void mtws__way_end(mtws__way *way) {
    mtws__way_close(way);
    mtws__net_sweep(&way->net);
}

/* ==========================================================================
 * >>tls                                       RFC 5246
 * uses: platform, bytes, url, cert
 * BearSSL over another transport, as a transport: TLS 1.2, in steps of one record. What the options
 * say is kept; what belongs to one connection begins anew with each.
 */
#ifdef MTWS_BEARSSL

enum {
    MTWS__TLS_AHEAD = 4096, /* read at once: many small records; 16384 gain 8 % on large ones */
    MTWS__TLS_PINS_MAX = 8,
    MTWS__TLS_CHAIN_MAX = 8, /* certificates of a client's chain */
    MTWS__TLS_READS = 16,    /* of the transport below, in one call */
    MTWS__TLS_TEXT_MAX = 192,
    MTWS__TLS_RSA_MIN = 256, /* bytes of a modulus */
    MTWS__TLS_SEED_SIZE = 32,
    MTWS__TLS_FILE_STEP = 4096
};

#define MTWS__TLS_SESSION_MS 86400000u /* RFC 5246 section F.1.4: a session is at most a day old */

/* ---- anchors and keys from PEM --------------------------------------------------------------- */

/* Memory that is taken from both ends: bytes from the low one, anchors from the high one. */
typedef struct mtws__arena {
    uint8_t *low, *high;
    bool full;
} mtws__arena;

struct mtws_trust {
    const br_x509_trust_anchor *anchors;
    size_t count;
    size_t skipped; /* certificates that BearSSL could not use */
    void *block;    /* to be given to MTWS_FREE; NULL: the caller's own */
};

/* What a client shows of itself where the server asks. */
typedef struct mtws__identity {
    br_x509_certificate chain[MTWS__TLS_CHAIN_MAX];
    size_t count;
    int kind; /* BR_KEYTYPE_RSA or _EC; 0: none */
    br_rsa_private_key rsa;
    br_ec_private_key ec;
} mtws__identity;

/* Reads PEM into an arena: anchors where trust is set, a chain and a key where identity is. */
typedef struct mtws__loader {
    mtws__arena arena;
    struct mtws_trust *trust;
    mtws__identity *identity;
    mtws__pem pem;
    bool certificate, key; /* what the block is */
    bool bad;
    uint8_t *begin; /* of what the block has brought */
    mtws__cert cert;
    size_t subject_size, info_size;
    bool is_ca;
    br_skey_decoder_context key_decoder;
} mtws__loader;

MTWS_PRIVATE void mtws__arena_open(mtws__arena *a, uint8_t *memory, size_t size) {
    size_t align = sizeof(void *);
    a->low = memory;
    a->high = memory + size;
    a->high -= (size_t)((uintptr_t)a->high % align);
    a->full = a->high < a->low;
    if (a->full) a->high = a->low;
}

/* Bytes at the low end. NULL where they are too many. */
MTWS_PRIVATE uint8_t *mtws__arena_take(mtws__arena *a, size_t size) {
    a->full = a->full || size > (size_t)(a->high - a->low);
    if (a->full) return NULL;
    uint8_t *at = a->low;
    a->low += size;
    return at;
}

MTWS_PRIVATE uint8_t *mtws__arena_copy(mtws__arena *a, const uint8_t *data, size_t size) {
    uint8_t *at = mtws__arena_take(a, size);
    if (at != NULL) memcpy(at, data, size);
    return at;
}

/* What PEM of so many bytes turns into: three bytes of four, and no certificate has less beside its
 * name and key than an anchor takes beside them. */
MTWS_PRIVATE size_t mtws__loader_room(size_t pem_size) {
    return pem_size > SIZE_MAX / 8 ? SIZE_MAX / 8 : pem_size / 4 * 3 + 64;
}

MTWS_PRIVATE void mtws__loader_open(mtws__loader *l, uint8_t *memory, size_t size) {
    memset(l, 0, sizeof *l);
    mtws__arena_open(&l->arena, memory, size);
    mtws__pem_start(&l->pem);
}

/* The block's certificate becomes an anchor: its name and key move together, the rest is left. */
MTWS_PRIVATE bool mtws__loader_anchor(mtws__loader *l) {
    mtws__span info;
    mtws__key key;
    br_x509_trust_anchor anchor;
    info.data = l->begin + l->subject_size;
    info.size = l->info_size;
    if (!mtws__cert_whole(&l->cert)) return false;
    mtws__key_parse(info, &key);
    if (key.kind == MTWS__KEY_UNKNOWN) return false;
    memset(&anchor, 0, sizeof anchor);
    anchor.dn.data = l->begin;
    anchor.dn.len = l->subject_size;
    anchor.flags = l->is_ca ? BR_X509_TA_CA : 0;
    uint8_t *at = l->begin + l->subject_size;
    if (key.kind == MTWS__KEY_RSA) {
        anchor.pkey.key_type = BR_KEYTYPE_RSA;
        anchor.pkey.key.rsa.n = at;
        anchor.pkey.key.rsa.nlen = key.modulus.size;
        memmove(at, key.modulus.data, key.modulus.size);
        at += key.modulus.size;
        anchor.pkey.key.rsa.e = at;
        anchor.pkey.key.rsa.elen = key.exponent.size;
        memmove(at, key.exponent.data, key.exponent.size);
        at += key.exponent.size;
    } else {
        anchor.pkey.key_type = BR_KEYTYPE_EC;
        anchor.pkey.key.ec.curve = key.curve;
        anchor.pkey.key.ec.q = at;
        anchor.pkey.key.ec.qlen = key.point.size;
        memmove(at, key.point.data, key.point.size);
        at += key.point.size;
    }
    l->arena.low = at;
    if (sizeof anchor > (size_t)(l->arena.high - l->arena.low)) {
        l->arena.full = true;
        return false;
    }
    l->arena.high -= sizeof anchor;
    memcpy(l->arena.high, &anchor, sizeof anchor);
    l->trust->count++;
    return true;
}

/* The block's private key is copied out of the decoder. */
MTWS_PRIVATE bool mtws__loader_key(mtws__loader *l) {
    mtws__identity *id = l->identity;
    const br_rsa_private_key *rsa = br_skey_decoder_get_rsa(&l->key_decoder);
    const br_ec_private_key *ec = br_skey_decoder_get_ec(&l->key_decoder);
    if (br_skey_decoder_last_error(&l->key_decoder) != 0) return false;
    if (rsa != NULL) {
        id->kind = BR_KEYTYPE_RSA;
        id->rsa = *rsa;
        id->rsa.p = mtws__arena_copy(&l->arena, rsa->p, rsa->plen);
        id->rsa.q = mtws__arena_copy(&l->arena, rsa->q, rsa->qlen);
        id->rsa.dp = mtws__arena_copy(&l->arena, rsa->dp, rsa->dplen);
        id->rsa.dq = mtws__arena_copy(&l->arena, rsa->dq, rsa->dqlen);
        id->rsa.iq = mtws__arena_copy(&l->arena, rsa->iq, rsa->iqlen);
    } else {
        MTWS_ASSERT(ec != NULL);
        id->kind = BR_KEYTYPE_EC;
        id->ec = *ec;
        id->ec.x = mtws__arena_copy(&l->arena, ec->x, ec->xlen);
    }
    return !l->arena.full;
}

MTWS_PRIVATE void mtws__loader_begin(mtws__loader *l) {
    const char *label = l->pem.label;
    l->begin = l->arena.low;
    l->certificate = strcmp(label, "CERTIFICATE") == 0;
    l->key = l->identity != NULL && l->identity->kind == 0 &&
             (strcmp(label, "PRIVATE KEY") == 0 || strcmp(label, "RSA PRIVATE KEY") == 0 ||
              strcmp(label, "EC PRIVATE KEY") == 0);
    l->bad = l->is_ca = false;
    l->subject_size = l->info_size = 0;
    if (l->key) br_skey_decoder_init(&l->key_decoder);
    mtws__cert_start(&l->cert);
}

/* Bytes of an anchor: its name and its key are kept. */
MTWS_PRIVATE void mtws__loader_read(mtws__loader *l, const uint8_t *data, size_t size) {
    while (size > 0 && !l->bad) {
        size_t used;
        mtws__cert_item item = mtws__cert_feed(&l->cert, data, size, &used);
        mtws__span piece = l->cert.piece;
        data += used;
        size -= used;
        if (item == MTWS__CERT_BAD) l->bad = true;
        if (item == MTWS__CERT_IS_CA) l->is_ca = piece.size == 1 && piece.data[0] != 0;
        if (item != MTWS__CERT_SUBJECT && item != MTWS__CERT_KEY) continue;
        if (mtws__arena_copy(&l->arena, piece.data, piece.size) == NULL) l->bad = true;
        if (item == MTWS__CERT_SUBJECT) l->subject_size += piece.size;
        else l->info_size += piece.size;
    }
}

MTWS_PRIVATE void mtws__loader_data(mtws__loader *l) {
    if (l->certificate && l->trust != NULL) {
        mtws__loader_read(l, l->pem.data, l->pem.size);
    } else if (l->certificate) {
        l->bad = mtws__arena_copy(&l->arena, l->pem.data, l->pem.size) == NULL; /* for ever then */
    } else if (l->key && l->key_decoder.err == 0) {
        br_skey_decoder_push(&l->key_decoder, l->pem.data, l->pem.size); /* not behind an error */
    }
}

/* The block has ended; `ok`: as PEM does. */
MTWS_PRIVATE void mtws__loader_end(mtws__loader *l, bool ok) {
    bool taken = ok && !l->bad;
    if (l->certificate && l->trust != NULL) {
        taken = taken && mtws__loader_anchor(l);
        if (!taken) l->trust->skipped++;
    } else if (l->certificate) {
        mtws__identity *id = l->identity;
        if (id->count == MTWS__TLS_CHAIN_MAX) l->arena.full = true;
        taken = taken && !l->arena.full;
        if (taken) {
            id->chain[id->count].data = l->begin;
            id->chain[id->count++].data_len = (size_t)(l->arena.low - l->begin);
        }
    } else if (l->key) {
        taken = taken && mtws__loader_key(l);
    }
    if (!taken) l->arena.low = l->begin;
}

MTWS_PRIVATE void mtws__loader_text(mtws__loader *l, mtws__span text) {
    for (;;) {
        size_t used;
        mtws__pem_item item = mtws__pem_feed(&l->pem, text, &used);
        text.data += used;
        text.size -= used;
        if (item == MTWS__PEM_BEGIN) mtws__loader_begin(l);
        else if (item == MTWS__PEM_DATA) mtws__loader_data(l);
        else if (item == MTWS__PEM_END || item == MTWS__PEM_BAD) {
            mtws__loader_end(l, item == MTWS__PEM_END);
        } else {
            return;
        }
    }
}

/* A whole file that was opened, which is closed. 0, or errno. */
MTWS_PRIVATE int mtws__loader_file(mtws__loader *l, int fd) {
    char step[MTWS__TLS_FILE_STEP];
    mtws__span text;
    ptrdiff_t got;
    text.data = (const uint8_t *)step;
    while ((got = mtws__os_file_read(fd, step, sizeof step)) > 0) {
        text.size = (size_t)got;
        mtws__loader_text(l, text);
    }
    mtws__os_close(fd);
    return (int)-got;
}

/* Opens the file that anchors come from: the one named, or the system's, where neither a file nor
 * PEM is named; -errno: it can't be. *path says which; NULL: none, which "" asks for too. */
MTWS_PRIVATE int mtws__trust_file(const char *ca_file, const char *ca_pem, const char **path,
                                  size_t *size) {
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Alpine, Arch, Gentoo */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of these */
        "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
        "/etc/ssl/cert.pem",                                 /* OpenBSD, FreeBSD, macOS */
        "/usr/local/share/certs/ca-root-nss.crt",            /* FreeBSD with its package */
        "/etc/openssl/certs/ca-certificates.crt",            /* NetBSD */
    };
    *size = 0;
    *path = ca_file;
    if (ca_file == NULL && ca_pem == NULL) ca_file = *path = mtws__os_ca_file();
    if (ca_file != NULL && ca_file[0] != 0) return mtws__os_file_open(ca_file, size);
    int fd = -ENOENT;
    *path = NULL;
    if (ca_file != NULL) return fd;
    for (size_t i = 0; ca_pem == NULL && fd < 0 && i < sizeof places / sizeof places[0]; i++) {
        fd = mtws__os_file_open(places[i], size);
        if (fd >= 0) *path = places[i];
    }
    return fd;
}

/* Room for the anchors that mtws__trust_load will find: nothing is read but the file's size. */
MTWS_PRIVATE size_t mtws__trust_room(const char *ca_file, const char *ca_pem) {
    const char *path;
    size_t size, room = 0;
    int fd = mtws__trust_file(ca_file, ca_pem, &path, &size);
    if (fd >= 0) {
        mtws__os_close(fd);
        room = mtws__loader_room(size);
    }
    return ca_pem == NULL ? room : room + mtws__loader_room(strlen(ca_pem));
}

/* Says in why, of MTWS__TLS_TEXT_MAX bytes, what is wrong with a file of roots. */
MTWS_PRIVATE void mtws__trust_why(char *why, const char *ca_file, const char *path, int error) {
    const char *source = ca_file != NULL              ? "options.ca_file"
                         : mtws__os_ca_file() != NULL ? "SSL_CERT_FILE"
                                                      : "the system's roots";
    mtws__writer w;
    mtws__writer_open(&w, why, MTWS__TLS_TEXT_MAX);
    mtws__writer_text(&w, source);
    mtws__writer_text(&w, ": ");
    mtws__writer_text(&w,
                      error == 0 ? "no certificate that can be used" : mtws__os_file_text(error));
    mtws__writer_text(&w, ": ");
    mtws__writer_text(&w, path); /* left out where it is too long */
}

/* Decodes the anchors into memory. *path: the file they come from, or NULL. MTWS_ERR_TLS_TRUST:
 * what was named, or is the system's, has none; MTWS_ERR_MEMORY: more than there is room for. why,
 * of MTWS__TLS_TEXT_MAX bytes, says more. */
MTWS_PRIVATE mtws_result mtws__trust_load(mtws_trust *trust, uint8_t *memory, size_t size,
                                          const char *ca_file, const char *ca_pem,
                                          const char **path, char *why) {
    mtws__loader l;
    size_t file_size;
    mtws__loader_open(&l, memory, size);
    trust->count = trust->skipped = 0;
    l.trust = trust;
    int fd = mtws__trust_file(ca_file, ca_pem, path, &file_size);
    int error = fd < 0 ? -fd : mtws__loader_file(&l, fd);
    size_t of_file = trust->count;
    const char *wrong = NULL;
    why[0] = 0;
    if (*path != NULL && (error != 0 || (of_file == 0 && !l.arena.full))) {
        mtws__trust_why(why, ca_file, *path, error);
        return MTWS_ERR_TLS_TRUST;
    }
    if (ca_pem != NULL) {
        mtws__pem_start(&l.pem);
        mtws__loader_text(&l, mtws__span_of(ca_pem));
        if (trust->count == of_file) wrong = "options.ca_pem has no certificate that can be used";
    } else if (*path == NULL) {
        wrong = ca_file != NULL ? "options.ca_file is empty" : "no file of the system's was found";
    }
    trust->anchors = (const br_x509_trust_anchor *)(const void *)l.arena.high;
    bool full = l.arena.full && (*path != NULL || ca_pem != NULL);
    if (full) wrong = "there are more roots than when the client was made";
    if (wrong == NULL) return MTWS_OK;
    snprintf(why, MTWS__TLS_TEXT_MAX, "%s", wrong);
    return full ? MTWS_ERR_MEMORY : MTWS_ERR_TLS_TRUST;
}

/* What mtws_trust_create takes. */
MTWS_PRIVATE size_t mtws__trust_required(const char *ca_file, const char *ca_pem) {
    return sizeof(mtws_trust) + 2 * sizeof(void *) + mtws__trust_room(ca_file, ca_pem);
}

MTWS_PRIVATE mtws_result mtws__trust_make(mtws_trust **out, const char *ca_file, const char *ca_pem,
                                          void *memory, size_t size) {
    const char *path;
    char why[MTWS__TLS_TEXT_MAX];
    size_t off = (size_t)((uintptr_t)memory % sizeof(void *));
    size_t start = off == 0 ? 0 : sizeof(void *) - off;
    if (size < start + sizeof(mtws_trust)) return MTWS_ERR_MEMORY;
    uint8_t *base = (uint8_t *)memory + start;
    mtws_trust *trust = (mtws_trust *)(void *)base;
    memset(trust, 0, sizeof *trust);
    mtws_result result = mtws__trust_load(trust, base + sizeof *trust, size - start - sizeof *trust,
                                          ca_file, ca_pem, &path, why);
    if (result == MTWS_OK) *out = trust;
    return result;
}

MTWS_PRIVATE size_t mtws__trust_anchors(const mtws_trust *trust) { return trust->count; }
MTWS_PRIVATE void **mtws__trust_block(mtws_trust *trust) { return &trust->block; }

/* Whether the key is that of the chain's first certificate. */
MTWS_PRIVATE bool mtws__identity_fits(const mtws__identity *id) {
    mtws__cert cert;
    mtws__span info;
    mtws__key key;
    const uint8_t *data = id->chain[0].data;
    size_t size = id->chain[0].data_len, at = 0, used;
    info.data = NULL;
    mtws__cert_start(&cert);
    while (at < size && info.data == NULL) {
        mtws__cert_item item = mtws__cert_feed(&cert, data + at, size - at, &used);
        at += used;
        if (item == MTWS__CERT_BAD) return false;
        if (item != MTWS__CERT_KEY) continue;
        info.data = data + at - cert.piece.size; /* the header was handed over first */
        info.size = cert.piece.size + cert.left;
    }
    if (info.data == NULL || info.size > size - (size_t)(info.data - data)) return false;
    mtws__key_parse(info, &key);
    uint8_t own[BR_X509_BUFSIZE_KEY];
    if (id->kind == BR_KEYTYPE_RSA) {
        /* The faster one of BearSSL 0.6 gives up at 4096 bits. */
        size_t own_size = br_rsa_i15_compute_modulus(NULL, &id->rsa);
        if (key.kind != MTWS__KEY_RSA || own_size > sizeof own || own_size != key.modulus.size) {
            return false;
        }
        br_rsa_i15_compute_modulus(own, &id->rsa);
        return memcmp(own, key.modulus.data, own_size) == 0;
    }
    size_t own_size = br_ec_compute_pub(br_ec_get_default(), NULL, own, &id->ec);
    return key.kind == MTWS__KEY_EC && own_size > 0 && own_size == key.point.size &&
           memcmp(own, key.point.data, own_size) == 0;
}

MTWS_PRIVATE size_t mtws__identity_room(const mtws_options *o) {
    if (o->client_cert_pem == NULL || o->client_key_pem == NULL) return 0;
    return mtws__loader_room(strlen(o->client_cert_pem)) +
           mtws__loader_room(strlen(o->client_key_pem));
}

/* Decodes chain and key. NULL, or what is wrong with them. */
MTWS_PRIVATE const char *mtws__identity_load(mtws__identity *id, uint8_t *memory, size_t size,
                                             const mtws_options *o) {
    mtws__loader l;
    const char *wrong = NULL;
    memset(id, 0, sizeof *id);
    mtws__loader_open(&l, memory, size);
    l.identity = id;
    mtws__loader_text(&l, mtws__span_of(o->client_cert_pem));
    mtws__pem_start(&l.pem);
    size_t count = id->count;
    if (id->kind == 0) mtws__loader_text(&l, mtws__span_of(o->client_key_pem));
    id->count = count; /* certificates beside the key are not of the chain */
    bool full = l.arena.full;
    mtws__wipe(&l, sizeof l);
    if (id->count == 0) wrong = "options.client_cert_pem has no certificate in PEM";
    else if (id->kind == 0)
        wrong = "options.client_key_pem has no key in PEM that is not encrypted";
    else if (full) wrong = "options.client_cert_pem is too long a chain";
    else if (!mtws__identity_fits(id)) wrong = "options.client_key_pem is not the certificate's";
    return wrong;
}

/* ---- the server's chain ---------------------------------------------------------------------- */

/* Looks at the chain as BearSSL hears it. BearSSL's own engine judges signatures, constraints,
 * validity and names; beside it stands what that engine does not do: addresses, names in
 * subjectAltName alone, purposes and pins. */
typedef struct mtws__verifier {
    const br_x509_class *vtable; /* first: BearSSL's functions are given its address */
    union {
        br_x509_minimal_context chain;
        br_x509_decoder_context key; /* insecure: only the key is wanted */
    } with;
    bool insecure;
    const char *name;    /* to be found; NULL: an address is */
    uint8_t address[16]; /* in network order */
    size_t address_size;
    int64_t now;         /* seconds since 1970 */
    const uint8_t *pins; /* one behind the other */
    int pin_count;

    int number;  /* of the certificate that is read; 0: the server's */
    bool counts; /* it is part of the chain that leads to an anchor */
    bool broken; /* no certificate */
    mtws__cert cert;
    br_sha256_context hash;        /* of its key */
    int64_t not_before, not_after; /* for people */
    bool named, pinned;
    bool purposes, for_servers; /* it says what it is for; and that is this */
    mtws_result result;         /* the verdict */
    const char *text;
} mtws__verifier;

/* What BearSSL's errors about a chain mean. */
MTWS_PRIVATE mtws_result mtws__verifier_result(unsigned err, const char **text) {
    switch (err) {
    case BR_ERR_X509_NOT_TRUSTED:
        *text = "the server's chain of certificates does not lead to a trusted root";
        return MTWS_ERR_TLS_TRUST;
    case BR_ERR_X509_BAD_SERVER_NAME:
        *text = "the server's certificate is for another host";
        return MTWS_ERR_TLS_NAME;
    case BR_ERR_X509_EXPIRED:
    case BR_ERR_X509_TIME_UNKNOWN:
        *text = "a certificate of the server's chain is not valid at this time";
        return MTWS_ERR_TLS_TIME;
    case BR_ERR_X509_BAD_SIGNATURE:
    case BR_ERR_X509_DN_MISMATCH:
        *text = "a certificate of the server's chain is not signed by the next";
        return MTWS_ERR_TLS_TRUST;
    case BR_ERR_X509_NOT_CA:
        *text = "a certificate of the server's chain is signed by one that may not sign";
        return MTWS_ERR_TLS_TRUST;
    case BR_ERR_X509_CRITICAL_EXTENSION:
    case BR_ERR_X509_FORBIDDEN_KEY_USAGE:
        *text = "a certificate of the server's chain has a critical extension that is not known, "
                "or is not for this use";
        return MTWS_ERR_TLS_TRUST;
    case BR_ERR_X509_WEAK_PUBLIC_KEY:
        *text = "a certificate of the server's chain has an RSA key below 2048 bits";
        return MTWS_ERR_TLS_TRUST;
    case BR_ERR_X509_UNSUPPORTED:
    case BR_ERR_X509_WRONG_KEY_TYPE:
    case BR_ERR_X509_LIMIT_EXCEEDED:
        *text = "a certificate of the server's chain uses an algorithm or a size that is not known";
        return MTWS_ERR_TLS_TRUST;
    default: *text = "a certificate of the server's chain is malformed"; return MTWS_ERR_TLS;
    }
}

MTWS_PRIVATE void mtws__verifier_start_chain(const br_x509_class **ctx, const char *name) {
    mtws__verifier *v = (mtws__verifier *)(void *)ctx;
    (void)name; /* the one that was asked for is in v; none is, for an address */
    v->number = 0;
    if (v->insecure) br_x509_decoder_init(&v->with.key, NULL, NULL);
    else v->with.chain.vtable->start_chain(&v->with.chain.vtable, v->name);
}

MTWS_PRIVATE void mtws__verifier_start_cert(const br_x509_class **ctx, uint32_t size) {
    mtws__verifier *v = (mtws__verifier *)(void *)ctx;
    /* The engine's verdict stands once an anchor has signed; what follows is not looked at. */
    v->counts = v->number == 0 || (!v->insecure && v->with.chain.err == 0);
    mtws__cert_start(&v->cert);
    br_sha256_init(&v->hash);
    if (!v->insecure) v->with.chain.vtable->start_cert(&v->with.chain.vtable, size);
}

/* One thing that the certificate says. */
MTWS_PRIVATE void mtws__verifier_item(mtws__verifier *v, mtws__cert_item item) {
    static const uint8_t server_auth[] = {0x2b, 6, 1, 5, 5, 7, 3, 1};
    static const uint8_t any_purpose[] = {0x55, 0x1d, 0x25, 0};
    mtws__span piece = v->cert.piece;
    if (item == MTWS__CERT_KEY) br_sha256_update(&v->hash, piece.data, piece.size);
    /* Behind a certificate that is not valid now none counts, so its dates are what stays. */
    if (item == MTWS__CERT_NOT_BEFORE) v->not_before = mtws__cert_time(v->cert.tag, piece);
    if (item == MTWS__CERT_NOT_AFTER) v->not_after = mtws__cert_time(v->cert.tag, piece);
    if (v->number > 0) return;
    switch (item) {
    case MTWS__CERT_PURPOSE:
        v->purposes = true;
        if ((piece.size == sizeof server_auth &&
             memcmp(piece.data, server_auth, piece.size) == 0) ||
            (piece.size == sizeof any_purpose && memcmp(piece.data, any_purpose, piece.size) == 0))
            v->for_servers = true;
        break;
    case MTWS__CERT_DNS:
        if (v->name != NULL && mtws__cert_matches(piece, v->name)) v->named = true;
        break;
    case MTWS__CERT_IP:
        if (v->name == NULL && piece.size == v->address_size &&
            memcmp(piece.data, v->address, piece.size) == 0)
            v->named = true;
        break;
    default: break;
    }
}

MTWS_PRIVATE void mtws__verifier_append(const br_x509_class **ctx, const unsigned char *data,
                                        size_t size) {
    mtws__verifier *v = (mtws__verifier *)(void *)ctx;
    const uint8_t *at = data;
    size_t left = v->counts ? size : 0;
    while (left > 0) {
        size_t used;
        mtws__cert_item item = mtws__cert_feed(&v->cert, at, left, &used);
        at += used;
        left -= used;
        if (item == MTWS__CERT_BAD) break;
        if (item != MTWS__CERT_MORE) mtws__verifier_item(v, item);
    }
    if (!v->insecure) v->with.chain.vtable->append(&v->with.chain.vtable, data, size);
    else if (v->number == 0 && v->with.key.err == 0) {
        br_x509_decoder_push(&v->with.key, data, size); /* it may not go on behind an error */
    }
}

MTWS_PRIVATE void mtws__verifier_end_cert(const br_x509_class **ctx) {
    mtws__verifier *v = (mtws__verifier *)(void *)ctx;
    uint8_t hash[br_sha256_SIZE];
    if (!v->insecure) v->with.chain.vtable->end_cert(&v->with.chain.vtable);
    if (v->counts && !mtws__cert_whole(&v->cert)) v->broken = true;
    br_sha256_out(&v->hash, hash);
    for (int i = 0; v->counts && i < v->pin_count; i++) {
        const uint8_t *pin = v->pins + (size_t)i * sizeof hash;
        if (memcmp(pin, hash, sizeof hash) == 0) v->pinned = true;
    }
    v->number++; /* a chain's message has less than 16 MiB (RFC 5246 section 7.4) */
}

/* What BearSSL's engine has not said; it has heard of one certificate at least. NULL: nothing is
 * wrong. */
MTWS_PRIVATE const char *mtws__verifier_check(mtws__verifier *v) {
    if (v->broken) {
        v->result = MTWS_ERR_TLS;
        return "a certificate of the server's chain is malformed";
    }
    if (!v->insecure && !v->named) {
        v->result = MTWS_ERR_TLS_NAME;
        return "the server's certificate is for another host: its subjectAltName does not have the "
               "name or address that was asked for";
    }
    v->result = MTWS_ERR_TLS_TRUST;
    if (!v->insecure && v->purposes && !v->for_servers) {
        return "the server's certificate is not for servers (extendedKeyUsage)";
    }
    if (v->pin_count > 0 && !v->pinned) {
        return "no key of the server's chain is one of options.pin_sha256";
    }
    v->result = MTWS_OK;
    return NULL;
}

MTWS_PRIVATE unsigned mtws__verifier_end_chain(const br_x509_class **ctx) {
    mtws__verifier *v = (mtws__verifier *)(void *)ctx;
    unsigned err = v->insecure ? (unsigned)br_x509_decoder_last_error(&v->with.key)
                               : v->with.chain.vtable->end_chain(&v->with.chain.vtable);
    if (err != 0) {
        v->result = mtws__verifier_result(err, &v->text);
        return err;
    }
    v->text = mtws__verifier_check(v);
    return v->text == NULL ? 0 : BR_ERR_X509_NOT_TRUSTED;
}

MTWS_PRIVATE const br_x509_pkey *mtws__verifier_get_pkey(const br_x509_class *const *ctx,
                                                         unsigned *usages) {
    const mtws__verifier *v = (const mtws__verifier *)(const void *)ctx;
    if (!v->insecure) return v->with.chain.vtable->get_pkey(&v->with.chain.vtable, usages);
    if (usages != NULL) *usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
    br_x509_decoder_context *decoder = (br_x509_decoder_context *)(uintptr_t)&v->with.key;
    return br_x509_decoder_get_pkey(decoder);
}

/* ---- one connection -------------------------------------------------------------------------- */

typedef enum mtws__tls_phase {
    MTWS__TLS_NONE,
    MTWS__TLS_BELOW,     /* the transport below is opened */
    MTWS__TLS_HANDSHAKE, /* records go to and fro */
    MTWS__TLS_OPEN
} mtws__tls_phase;

typedef struct mtws__tls {
    /* kept */
    mtws_transport lower;
    bool exact;              /* a short read below means empty */
    const mtws_trust *trust; /* the user's or own_trust; NULL: not loaded yet, or none */
    mtws_trust own_trust;
    uint8_t *trust_memory;
    size_t trust_size;
    bool no_file; /* options.ca_file was "" */
    mtws__identity identity;
    uint8_t *identity_memory;
    size_t identity_size;
    uint8_t pins[MTWS__TLS_PINS_MAX][br_sha256_SIZE];
    int pin_count;
    bool insecure;
    char server_name[MTWS__HOST_MAX + 2]; /* instead of the host; "": none */
    const char *protocols[1];
    br_ssl_session_parameters session; /* to be resumed; an id of no bytes: none */
    uint64_t session_ms;               /* when it began */
    char session_name[MTWS__HOST_MAX + 1];
    uint16_t session_port;
    uint64_t unix_ms; /* of the attempt */
    uint8_t seed[MTWS__TLS_SEED_SIZE];

    /* of the connection */
    mtws__tls_phase phase;
    bool offered; /* a session was */
    bool resumed;
    bool more;                     /* reading on may give something without waiting */
    bool cut;                      /* the stream below ended, and TLS had not */
    int ended;                     /* what reading gives for ever; 0: it has not ended */
    char name[MTWS__HOST_MAX + 1]; /* that the certificate must bear */
    uint16_t port;
    char text[MTWS__TLS_TEXT_MAX]; /* why it failed */
    uint8_t hello[2];              /* the first bytes of the server's */
    size_t hello_size;
    size_t ahead_at, ahead_end; /* bytes in ahead that the engine has not had */
    mtws__verifier verifier;
    br_ssl_client_context client;
    uint8_t ahead[MTWS__TLS_AHEAD];
    uint8_t input[BR_SSL_BUFSIZE_INPUT]; /* both: TLS flows in both directions at once */
    uint8_t output[BR_SSL_BUFSIZE_OUTPUT];
} mtws__tls;

/* What the engine's errors mean. */
MTWS_PRIVATE const char *mtws__tls_error_text(int err) {
    switch (err) {
    case BR_ERR_UNSUPPORTED_VERSION: return "the server speaks no TLS 1.2, but an older version";
    case BR_ERR_BAD_VERSION: return "the server changed the version of TLS";
    case BR_ERR_BAD_MAC: return "a record was changed on its way";
    case BR_ERR_BAD_SIGNATURE: return "the server's signature is wrong";
    case BR_ERR_NO_RANDOM: return "BearSSL has no randomness";
    case BR_ERR_WRONG_KEY_USAGE:
        return "the server's certificate may not be used for TLS (keyUsage)";
    case BR_ERR_RESUME_MISMATCH: return "the server resumed a session with other parameters";
    case BR_ERR_BAD_CIPHER_SUITE:
    case BR_ERR_INVALID_ALGORITHM: return "the server chose an algorithm that was not offered";
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_HANDSHAKE_FAILURE:
        return "the server refused the handshake: no common cipher or curve of TLS 1.2, or it "
               "needs a client certificate";
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_PROTOCOL_VERSION:
        return "the server refuses TLS 1.2: it speaks TLS 1.3 only, which takes another library of "
               "TLS behind options.transport";
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_UNKNOWN_CA:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_BAD_CERTIFICATE:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_UNSUPPORTED_CERTIFICATE:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_CERTIFICATE_REVOKED:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_CERTIFICATE_EXPIRED:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_CERTIFICATE_UNKNOWN:
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_ACCESS_DENIED:
        return "the server refuses the client certificate";
    case BR_ERR_RECV_FATAL_ALERT + BR_ALERT_NO_APPLICATION_PROTOCOL:
        return "the server does not speak http/1.1 (ALPN)";
    case BR_ERR_RECV_FATAL_ALERT + 112: return "the server does not know this host's name (SNI)";
    default: break;
    }
    return err >= BR_ERR_RECV_FATAL_ALERT ? "the server refused" : "the server broke TLS";
}

/* Notes why it failed. */
MTWS_PRIVATE int mtws__tls_fail(mtws__tls *t, int result, const char *text, int err) {
    mtws__writer w;
    mtws__writer_open(&w, t->text, sizeof t->text);
    mtws__writer_text(&w, text);
    if (err >= BR_ERR_RECV_FATAL_ALERT) {
        mtws__writer_text(&w, " (alert ");
        mtws__writer_number(&w, (uint64_t)err & 0xff);
        mtws__writer_text(&w, ")");
    } else if (err != 0) {
        mtws__writer_text(&w, " (BearSSL error ");
        mtws__writer_number(&w, (uint64_t)err);
        mtws__writer_text(&w, ")");
    }
    if (result == MTWS_ERR_TLS_TIME) {
        const int64_t times[3] = {t->verifier.not_before, t->verifier.not_after, t->verifier.now};
        static const char *const words[3] = {": it is so from ", " to ",
                                             ", and this machine's clock says "};
        for (int i = 0; i < 3; i++) {
            char date[16];
            mtws__cert_date(times[i], date);
            mtws__writer_text(&w, words[i]);
            mtws__writer_text(&w, date);
        }
    }
    return result;
}

/* The engine has stopped. */
MTWS_PRIVATE int mtws__tls_failed(mtws__tls *t) {
    int err = br_ssl_engine_last_error(&t->client.eng);
    t->session.session_id_len = 0; /* RFC 5246 section 7.2.2: it is not to be resumed */
    if (t->verifier.result != MTWS_OK) {
        return mtws__tls_fail(t, t->verifier.result, t->verifier.text, 0);
    }
    /* RFC 5246 section 6.2.1: a type from 20 to 23, and the major version 3. */
    bool tls = t->hello[0] >= 20 && t->hello[0] <= 23 && t->hello[1] == 3;
    if (t->hello_size == sizeof t->hello && !tls) {
        return mtws__tls_fail(t, MTWS_ERR_TLS,
                              "the server's answer is not TLS: is this port for ws://?", 0);
    }
    return mtws__tls_fail(t, MTWS_ERR_TLS, mtws__tls_error_text(err), err);
}

/* The algorithms: forward secrecy always, and authenticated ciphers before CBC, which older servers
 * need. AES comes first where the processor has it. */
MTWS_PRIVATE void mtws__tls_set_algorithms(br_ssl_engine_context *e) {
    static const uint16_t aes[] = {
        BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    };
    static const uint16_t chacha[] = {
        BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    };
    static const uint16_t rest[] = {
        BR_TLS_ECDHE_ECDSA_WITH_AES_128_CCM,        BR_TLS_ECDHE_ECDSA_WITH_AES_256_CCM,
        BR_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
        BR_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384,
    };
    uint16_t suites[12];
    bool fast = br_aes_x86ni_ctr_get_vtable() != NULL || br_aes_pwr8_ctr_get_vtable() != NULL;
    memcpy(suites + (fast ? 0 : 2), aes, sizeof aes);
    memcpy(suites + (fast ? 4 : 0), chacha, sizeof chacha);
    memcpy(suites + 6, rest, sizeof rest);
    br_ssl_engine_set_suites(e, suites, 12);
    br_ssl_engine_set_hash(e, br_sha256_ID, &br_sha256_vtable);
    br_ssl_engine_set_hash(e, br_sha384_ID, &br_sha384_vtable);
    br_ssl_engine_set_hash(e, br_sha512_ID, &br_sha512_vtable);
    br_ssl_engine_set_prf_sha256(e, &br_tls12_sha256_prf);
    br_ssl_engine_set_prf_sha384(e, &br_tls12_sha384_prf);
    br_ssl_engine_set_default_aes_gcm(e);
    br_ssl_engine_set_default_chapol(e);
    br_ssl_engine_set_default_aes_ccm(e);
    br_ssl_engine_set_default_aes_cbc(e);
    br_ssl_engine_set_default_ec(e);
    br_ssl_engine_set_default_rsavrfy(e);
    br_ssl_engine_set_default_ecdsa(e);
}

MTWS_PRIVATE void mtws__tls_set_verifier(mtws__tls *t) {
    static const br_hash_class *const hashes[] = {&br_sha256_vtable, &br_sha384_vtable,
                                                  &br_sha512_vtable};
    static const int ids[] = {br_sha256_ID, br_sha384_ID, br_sha512_ID};
    static const br_x509_class verifier = {
        sizeof(mtws__verifier),  mtws__verifier_start_chain, mtws__verifier_start_cert,
        mtws__verifier_append,   mtws__verifier_end_cert,    mtws__verifier_end_chain,
        mtws__verifier_get_pkey,
    };
    mtws__verifier *v = &t->verifier;
    br_x509_minimal_context *x = &v->with.chain;
    v->vtable = &verifier;
    v->insecure = t->insecure;
    v->now = (int64_t)(t->unix_ms / 1000);
    v->not_before = v->not_after = INT64_MIN;
    v->pins = t->pins[0];
    v->pin_count = t->pin_count;
    if (t->insecure) return;
    bool any = t->trust != NULL;
    br_x509_minimal_init(x, &br_sha256_vtable, any ? t->trust->anchors : NULL,
                         any ? t->trust->count : 0);
    for (int i = 0; i < 3; i++) br_x509_minimal_set_hash(x, ids[i], hashes[i]);
    br_x509_minimal_set_rsa(x, br_rsa_pkcs1_vrfy_get_default());
    br_x509_minimal_set_ecdsa(x, br_ec_get_default(), br_ecdsa_vrfy_asn1_get_default());
    br_x509_minimal_set_minrsa(x, MTWS__TLS_RSA_MIN);
    /* Days are counted from the year 0. */
    uint64_t days = mtws__min_u64(t->unix_ms / 86400000u + 719528u, UINT32_MAX);
    br_x509_minimal_set_time(x, (uint32_t)days, (uint32_t)(t->unix_ms / 1000 % 86400));
}

/* What the certificate must bear: a name of DNS, or an address where the host is one. */
MTWS_PRIVATE int mtws__tls_set_name(mtws__tls *t, const char *host) {
    mtws__verifier *v = &t->verifier;
    if (t->server_name[0] != 0) host = t->server_name;
    v->address_size = mtws__url_address(mtws__span_of(host), v->address);
    if (v->address_size > 0) {
        memcpy(t->name, host, strlen(host) + 1); /* no address is as long as a name may be */
        return MTWS_OK;
    }
    if (!mtws__cert_host(t->name, host)) return MTWS_ERR_TLS_NAME;
    v->name = t->name;
    return MTWS_OK;
}

/* The transport below is open: makes the first record. */
MTWS_PRIVATE int mtws__tls_begin(mtws__tls *t) {
    br_ssl_client_context *c = &t->client;
    br_ssl_client_zero(c);
    br_ssl_engine_set_versions(&c->eng, BR_TLS12, BR_TLS12);
    br_ssl_engine_set_all_flags(&c->eng, BR_OPT_NO_RENEGOTIATION | BR_OPT_FAIL_ON_ALPN_MISMATCH);
    mtws__tls_set_algorithms(&c->eng);
    mtws__tls_set_verifier(t);
    br_ssl_engine_set_x509(&c->eng, &t->verifier.vtable);
    br_ssl_engine_set_buffers_bidi(&c->eng, t->input, sizeof t->input, t->output, sizeof t->output);
    br_ssl_engine_set_protocol_names(&c->eng, t->protocols, 1);
    if (t->identity.kind == BR_KEYTYPE_RSA) {
        br_ssl_client_set_single_rsa(c, t->identity.chain, t->identity.count, &t->identity.rsa,
                                     br_rsa_pkcs1_sign_get_default());
    } else if (t->identity.kind == BR_KEYTYPE_EC) {
        br_ssl_client_set_single_ec(c, t->identity.chain, t->identity.count, &t->identity.ec,
                                    BR_KEYTYPE_SIGN, BR_KEYTYPE_EC, br_ec_get_default(),
                                    br_ecdsa_sign_asn1_get_default());
    }
    /* Randomness is the client's alone: BearSSL's seeder would ask nobody but the processor on x86,
     * or open a file behind our back, and the same inputs would not give the same run. */
    br_ssl_engine_inject_entropy(&c->eng, t->seed, sizeof t->seed);
    mtws__wipe(t->seed, sizeof t->seed);
    c->eng.rng_os_rand_done = 1;
    bool young = t->unix_ms >= t->session_ms && t->unix_ms - t->session_ms < MTWS__TLS_SESSION_MS;
    bool same = strcmp(t->session_name, t->name) == 0 && t->session_port == t->port;
    t->offered = young && same && t->session.session_id_len > 0;
    if (t->offered) br_ssl_engine_set_session_parameters(&c->eng, &t->session);
    if (!br_ssl_client_reset(c, t->verifier.name, t->offered)) return mtws__tls_failed(t);
    t->phase = MTWS__TLS_HANDSHAKE;
    return MTWS_OK;
}

/* Hands records to the transport below. 0: all of them; MTWS_IO_AGAIN: it has no room; else why it
 * takes none. */
MTWS_PRIVATE int mtws__tls_push(mtws__tls *t) {
    size_t size;
    const uint8_t *data;
    while ((data = br_ssl_engine_sendrec_buf(&t->client.eng, &size)) != NULL) {
        ptrdiff_t put = t->lower.write(t->lower.ctx, data, size);
        if (put == 0) return MTWS_IO_AGAIN;
        if (put < 0) return (int)put;
        br_ssl_engine_sendrec_ack(&t->client.eng, (size_t)put);
    }
    return 0;
}

/* Gives the engine what it wants next of a record: from what was read ahead, or read for it. Bytes
 * > 0, or what the transport below says; 0: the engine takes none now. */
MTWS_PRIVATE ptrdiff_t mtws__tls_pull(mtws__tls *t) {
    size_t size;
    uint8_t *to = br_ssl_engine_recvrec_buf(&t->client.eng, &size);
    if (to == NULL) return 0;
    ptrdiff_t got = 1;
    if (t->ahead_at == t->ahead_end) {
        /* The rest of a large record goes where it is wanted, without a copy. */
        bool direct = size >= sizeof t->ahead / 2;
        uint8_t *room = direct ? to : t->ahead;
        size_t room_size = direct ? size : sizeof t->ahead;
        got = t->lower.read(t->lower.ctx, room, room_size);
        if (got == 0) got = MTWS_IO_AGAIN;
        t->more = got > 0 && (!t->exact || (size_t)got == room_size);
        if (got < 0) return got;
        if (direct) {
            br_ssl_engine_recvrec_ack(&t->client.eng, (size_t)got);
            return got;
        }
        t->ahead_at = 0;
        t->ahead_end = (size_t)got;
        for (size_t i = 0; i < t->ahead_end && t->hello_size < sizeof t->hello; i++) {
            t->hello[t->hello_size++] = t->ahead[i];
        }
    }
    size = mtws__min_size(size, t->ahead_end - t->ahead_at);
    memcpy(to, t->ahead + t->ahead_at, size);
    t->ahead_at += size;
    br_ssl_engine_recvrec_ack(&t->client.eng, size);
    return (ptrdiff_t)size;
}

/* Whether the engine can work on without a byte from below. */
MTWS_PRIVATE bool mtws__tls_has_work(const mtws__tls *t) {
    unsigned state = br_ssl_engine_current_state(&t->client.eng);
    return (state & BR_SSL_RECVAPP) != 0 ||
           ((state & BR_SSL_RECVREC) != 0 && t->ahead_at < t->ahead_end);
}

/* The stream below ended, or failed, during the handshake. */
MTWS_PRIVATE int mtws__tls_broke(mtws__tls *t) {
    t->cut = true;
    return mtws__tls_fail(t, MTWS_ERR_TLS, "the connection broke during the TLS handshake", 0);
}

/* The handshake is done: its session can be resumed by the next connection. */
MTWS_PRIVATE void mtws__tls_opened(mtws__tls *t) {
    br_ssl_session_parameters now;
    br_ssl_engine_get_session_parameters(&t->client.eng, &now);
    t->resumed = t->offered && now.session_id_len == t->session.session_id_len &&
                 memcmp(now.session_id, t->session.session_id, now.session_id_len) == 0;
    if (!t->resumed) {
        t->session = now;
        t->session_ms = t->unix_ms;
        memcpy(t->session_name, t->name, sizeof t->name);
        t->session_port = t->port;
    }
    mtws__wipe(&now, sizeof now);
    t->phase = MTWS__TLS_OPEN;
}

/* One step of the handshake: at most one record of the server's, and what there is to say. What the
 * server said last is heard where nothing can be written any more. */
MTWS_PRIVATE int mtws__tls_step(mtws__tls *t) {
    int pushed = mtws__tls_push(t);
    ptrdiff_t got = 1;
    for (int i = 0; i < 2 && got > 0; i++) { /* header, content */
        got = mtws__tls_pull(t);
        if (got > 0 && (pushed == 0 || pushed == MTWS_IO_AGAIN)) pushed = mtws__tls_push(t);
    }
    unsigned state = br_ssl_engine_current_state(&t->client.eng);
    if (state == BR_SSL_CLOSED) {
        if (br_ssl_engine_last_error(&t->client.eng) != 0) return mtws__tls_failed(t);
        return mtws__tls_broke(t);
    }
    if (got < 0 && got != MTWS_IO_AGAIN) return mtws__tls_broke(t);
    if (pushed < 0 && pushed != MTWS_IO_AGAIN && got <= 0) return mtws__tls_broke(t);
    if ((state & BR_SSL_SENDAPP) == 0) return MTWS_IO_AGAIN;
    mtws__tls_opened(t);
    return 0;
}

/* Zeroes what belongs to one connection. */
MTWS_PRIVATE void mtws__tls_reset(mtws__tls *t) {
    t->phase = MTWS__TLS_NONE;
    t->offered = t->resumed = t->more = t->cut = false;
    t->ended = 0;
    t->text[0] = t->name[0] = 0;
    t->ahead_at = t->ahead_end = t->hello_size = 0;
    memset(&t->verifier, 0, sizeof t->verifier);
}

MTWS_PRIVATE int mtws__tls_open(void *ctx, const char *host, uint16_t port, bool tls) {
    mtws__tls *t = (mtws__tls *)ctx;
    MTWS_ASSERT(tls);
    (void)tls;
    if (t->phase == MTWS__TLS_NONE) {
        mtws__tls_reset(t);
        t->port = port;
        if (mtws__tls_set_name(t, host) != MTWS_OK) {
            return mtws__tls_fail(t, MTWS_ERR_TLS_NAME, "no certificate can be for such a host", 0);
        }
        t->phase = MTWS__TLS_BELOW;
    }
    if (t->phase == MTWS__TLS_BELOW) {
        int result = t->lower.open(t->lower.ctx, host, port, false);
        if (result != 0) return result;
        result = mtws__tls_begin(t);
        if (result != MTWS_OK) return result;
    }
    return mtws__tls_step(t);
}

/* The next record, or a part of it, for the engine. Bytes > 0, MTWS_IO_AGAIN, or how reading has
 * ended. */
MTWS_PRIVATE ptrdiff_t mtws__tls_fetch(mtws__tls *t) {
    if (t->ended != 0) return t->ended;
    /* An answer to an alert; where it can't leave, reading says why. Behind the one to close_notify
     * the stream has ended, whatever lies below does (RFC 5246 section 7.2.1). */
    mtws__tls_push(t);
    if (br_ssl_engine_current_state(&t->client.eng) == BR_SSL_CLOSED) {
        bool bad = br_ssl_engine_last_error(&t->client.eng) != 0;
        t->ended = bad ? mtws__tls_failed(t) : MTWS_IO_EOF;
        return t->ended;
    }
    if (t->ahead_at == t->ahead_end && !t->more) return MTWS_IO_AGAIN;
    ptrdiff_t got = mtws__tls_pull(t);
    if (got == 0) return MTWS_IO_AGAIN;
    if (got < 0 && got != MTWS_IO_AGAIN) {
        t->cut = got == MTWS_IO_EOF;
        t->ended = (int)got;
    }
    return got;
}

/* Takes all that is there, of as many records as it needs. */
MTWS_PRIVATE ptrdiff_t mtws__tls_read(void *ctx, void *out, size_t capacity) {
    mtws__tls *t = (mtws__tls *)ctx;
    uint8_t *to = (uint8_t *)out;
    size_t total = 0;
    ptrdiff_t got = 1;
    t->more = true;
    for (int reads = 0; total < capacity && got > 0 && reads < MTWS__TLS_READS;) {
        size_t size;
        const uint8_t *data = br_ssl_engine_recvapp_buf(&t->client.eng, &size);
        if (data != NULL) {
            size = mtws__min_size(size, capacity - total);
            memcpy(to + total, data, size);
            total += size;
            br_ssl_engine_recvapp_ack(&t->client.eng, size);
        } else {
            if (t->ahead_at == t->ahead_end) reads++;
            got = mtws__tls_fetch(t);
        }
    }
    /* The end is told by the next call, where this one has bytes to give. */
    t->more = mtws__tls_has_work(t) || t->ended != 0 || (got != MTWS_IO_AGAIN && t->more);
    if (total > 0) return (ptrdiff_t)total;
    return got > 0 ? (ptrdiff_t)MTWS_IO_AGAIN : got;
}

MTWS_PRIVATE ptrdiff_t mtws__tls_write(void *ctx, const void *data, size_t size) {
    mtws__tls *t = (mtws__tls *)ctx;
    const uint8_t *from = (const uint8_t *)data;
    size_t total = 0;
    int result = mtws__tls_push(t);
    while (result == 0 && total < size) {
        size_t room;
        uint8_t *to = br_ssl_engine_sendapp_buf(&t->client.eng, &room);
        if (to == NULL) { /* nothing can be sent on a stream that is being closed */
            result = MTWS_IO_ERROR;
            break;
        }
        room = mtws__min_size(room, size - total);
        memcpy(to, from + total, room);
        total += room;
        br_ssl_engine_sendapp_ack(&t->client.eng, room);
        br_ssl_engine_flush(&t->client.eng, 0);
        result = mtws__tls_push(t);
    }
    return total > 0 ? (ptrdiff_t)total : result;
}

MTWS_PRIVATE void mtws__tls_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    mtws__tls *t = (mtws__tls *)ctx;
    if (t->phase <= MTWS__TLS_BELOW) {
        t->lower.wait(t->lower.ctx, want_read, want_write, out);
        return;
    }
    unsigned state = br_ssl_engine_current_state(&t->client.eng);
    if (t->phase == MTWS__TLS_HANDSHAKE) want_read = true;
    bool write = (state & BR_SSL_SENDREC) != 0 || (want_write && (state & BR_SSL_SENDAPP) != 0);
    bool read = want_read && ((state & BR_SSL_RECVREC) != 0 || state == BR_SSL_CLOSED);
    t->lower.wait(t->lower.ctx, read, write, out);
    if (want_read && mtws__tls_has_work(t)) out->timeout_ms = 0;
}

/* Nothing will be written any more: the peer hears of it as far as there is room. */
MTWS_PRIVATE void mtws__tls_finish(mtws__tls *t) {
    if (t->phase != MTWS__TLS_OPEN) return;
    mtws__tls_push(t); /* the engine makes its close_notify where nothing waits before it */
    br_ssl_engine_close(&t->client.eng);
    mtws__tls_push(t);
}

MTWS_PRIVATE void mtws__tls_close(void *ctx) {
    mtws__tls *t = (mtws__tls *)ctx;
    mtws__tls_finish(t);
    bool below = t->phase != MTWS__TLS_NONE;
    t->phase = MTWS__TLS_NONE;
    mtws__wipe(&t->client, sizeof t->client); /* its keys */
    if (below) t->lower.close(t->lower.ctx);
}

/* MTWS_TLS_MEMORY_SIZE and MTWS_PEM_MEMORY_SIZE promise that these hold. */
typedef char mtws__check_tls[sizeof(mtws__tls) + 16 <= MTWS_TLS_MEMORY_SIZE ? 1 : -1];
typedef char mtws__check_trust[sizeof(mtws_trust) + 32 <= MTWS_PEM_MEMORY_SIZE(0) ? 1 : -1];

/* ---- what the client calls ------------------------------------------------------------------- */

typedef struct mtws__tls_layout {
    size_t identity, trust; /* bytes behind the struct */
} mtws__tls_layout;

/* Bytes that these options need; 0: none. */
MTWS_PRIVATE size_t mtws__tls_room(const mtws_options *o, mtws__tls_layout *l) {
    l->identity = mtws__identity_room(o);
    bool own = o->trust == NULL && !o->insecure_skip_verify;
    l->trust = own ? mtws__trust_room(o->ca_file, o->ca_pem) : 0;
    if (l->identity > SIZE_MAX / 8 || l->trust > SIZE_MAX / 8) return SIZE_MAX / 4;
    return sizeof(mtws__tls) + l->identity + l->trust;
}

/* Loads the anchors that the client has for itself, unless it has them, or some of the user's.
 * mtws__tls_text says what is wrong. */
MTWS_PRIVATE mtws_result mtws__tls_load(mtws__tls *t, const char *ca_file, const char *ca_pem,
                                        const char **path) {
    *path = NULL;
    if (t->insecure || t->trust != NULL) return MTWS_OK;
    if (t->no_file && ca_pem == NULL) ca_file = "";
    mtws_result result = mtws__trust_load(&t->own_trust, t->trust_memory, t->trust_size, ca_file,
                                          ca_pem, path, t->text);
    if (result == MTWS_OK) t->trust = &t->own_trust;
    return result;
}

/* Takes the options over, in mtws__tls_room's bytes of memory. Where they are bad *wrong says
 * why. */
MTWS_PRIVATE mtws_result mtws__tls_create(mtws__tls *t, const mtws_options *o,
                                          const mtws__tls_layout *l, const char **wrong) {
    const char *list = o->pin_sha256, *path;
    uint8_t pin[br_sha256_SIZE], address[16];
    memset(t, 0, offsetof(mtws__tls, ahead)); /* the buffers' pages are left untouched */
    char name[MTWS__HOST_MAX + 1];
    t->protocols[0] = "http/1.1";
    t->insecure = o->insecure_skip_verify;
    t->trust = o->trust;
    t->identity_memory = (uint8_t *)(t + 1);
    t->identity_size = l->identity;
    t->trust_memory = t->identity_memory + l->identity;
    t->trust_size = l->trust;
    t->no_file = o->ca_file != NULL && o->ca_file[0] == 0;
    int more = 0;
    while (list != NULL && (more = mtws__cert_pin(&list, pin)) > 0) {
        if (t->pin_count == MTWS__TLS_PINS_MAX) break;
        memcpy(t->pins[t->pin_count++], pin, sizeof pin);
    }
    *wrong = NULL;
    if (o->trust != NULL && (o->ca_file != NULL || o->ca_pem != NULL)) {
        *wrong = "options.trust stands for all roots: ca_file and ca_pem do not go with it";
    } else if (more != 0 || (list != NULL && t->pin_count == 0)) {
        *wrong = "options.pin_sha256 is no list of 1 to 8 pins, 44 characters of base64 each";
    } else if (o->server_name != NULL &&
               mtws__url_address(mtws__span_of(o->server_name), address) == 0 &&
               !mtws__cert_host(name, o->server_name)) {
        *wrong = "options.server_name is no name of a host";
    } else if ((o->client_cert_pem == NULL) != (o->client_key_pem == NULL)) {
        *wrong = "options.client_cert_pem and client_key_pem go together";
    } else if (o->client_cert_pem != NULL) {
        *wrong = mtws__identity_load(&t->identity, t->identity_memory, l->identity, o);
    }
    if (*wrong != NULL) return MTWS_ERR_ARGUMENT;
    if (o->server_name != NULL) {
        memcpy(t->server_name, o->server_name, strlen(o->server_name) + 1);
    }
    bool asked = (o->ca_file != NULL && o->ca_file[0] != 0) || o->ca_pem != NULL;
    if (!asked) return MTWS_OK;
    mtws_result result = mtws__tls_load(t, o->ca_file, o->ca_pem, &path);
    if (result != MTWS_OK) *wrong = t->text;
    return result;
}

/* Before each opening: what lies below, fresh randomness, and the wall clock. */
MTWS_PRIVATE void mtws__tls_prepare(mtws__tls *t, const mtws_transport *lower, bool exact,
                                    const uint8_t seed[MTWS__TLS_SEED_SIZE], uint64_t unix_ms) {
    t->lower = *lower;
    t->exact = exact;
    t->unix_ms = unix_ms;
    memcpy(t->seed, seed, sizeof t->seed);
}

/* Other anchors, in the middle of a handshake too. What was trusted before is asked anew. */
MTWS_PRIVATE void mtws__tls_set_trust(mtws__tls *t, const mtws_trust *trust) {
    t->trust = trust;
    t->session.session_id_len = 0;
    if (t->phase != MTWS__TLS_HANDSHAKE || t->insecure) return;
    t->verifier.with.chain.trust_anchors = trust->anchors;
    t->verifier.with.chain.trust_anchors_num = trust->count;
}

/* Bytes of records that have not left. */
MTWS_PRIVATE size_t mtws__tls_unsent(const mtws__tls *t) {
    size_t size = 0;
    if (t->phase == MTWS__TLS_OPEN) br_ssl_engine_sendrec_buf(&t->client.eng, &size);
    return size;
}

/* What was agreed, for the log. */
MTWS_PRIVATE void mtws__tls_describe(const mtws__tls *t, char *out, size_t capacity) {
    snprintf(out, capacity, "TLS 1.2, cipher suite 0x%04X, %s%s", (unsigned)t->session.cipher_suite,
             t->resumed ? "resumed" : "full handshake",
             t->insecure && t->pin_count == 0 ? ", NOT VERIFIED" : "");
}

MTWS_PRIVATE bool mtws__tls_pinned(const mtws__tls *t) { return t->pin_count > 0; }

MTWS_PRIVATE void mtws__tls_transport(mtws__tls *t, mtws_transport *out) {
    out->open = mtws__tls_open;
    out->read = mtws__tls_read;
    out->write = mtws__tls_write;
    out->wait = mtws__tls_wait;
    out->close = mtws__tls_close;
    out->ctx = t;
}

/* The secrets of what is kept. */
MTWS_PRIVATE void mtws__tls_destroy(mtws__tls *t) {
    if (t == NULL) return;
    mtws__wipe(&t->session, sizeof t->session);
    mtws__wipe(t->identity_memory, t->identity_size);
}

/* How many there are, once they are loaded. */
MTWS_PRIVATE size_t mtws__tls_anchors(const mtws__tls *t) { return t->trust->count; }

MTWS_PRIVATE bool mtws__tls_more(const mtws__tls *t) { return t->more; }

/* Why it failed, or "". */
MTWS_PRIVATE const char *mtws__tls_text(const mtws__tls *t) {
    return t->cut && t->text[0] == 0 ? "it ended without TLS's close_notify" : t->text;
}

#else /* A build without BearSSL: no client has an mtws__tls, whatever one would do. */

enum { MTWS__TLS_SEED_SIZE = 32 };

typedef struct mtws__tls {
    char nothing;
} mtws__tls;

typedef struct mtws__tls_layout {
    char nothing;
} mtws__tls_layout;

MTWS_PRIVATE size_t mtws__tls_room(const mtws_options *o, mtws__tls_layout *l) {
    (void)o;
    l->nothing = 0;
    return 0;
}

MTWS_PRIVATE mtws_result mtws__tls_create(mtws__tls *t, const mtws_options *o,
                                          const mtws__tls_layout *l, const char **wrong) {
    (void)t, (void)o, (void)l, (void)wrong;
    return MTWS_OK;
}

MTWS_PRIVATE mtws_result mtws__tls_load(mtws__tls *t, const char *ca_file, const char *ca_pem,
                                        const char **path) {
    (void)t, (void)ca_file, (void)ca_pem, (void)path;
    return MTWS_ERR_TLS;
}

MTWS_PRIVATE void mtws__tls_prepare(mtws__tls *t, const mtws_transport *lower, bool exact,
                                    const uint8_t *seed, uint64_t unix_ms) {
    (void)t, (void)lower, (void)exact, (void)seed, (void)unix_ms;
}

MTWS_PRIVATE void mtws__tls_transport(mtws__tls *t, mtws_transport *out) { (void)t, (void)out; }

MTWS_PRIVATE void mtws__tls_describe(const mtws__tls *t, char *out, size_t capacity) {
    (void)t, (void)out, (void)capacity;
}

MTWS_PRIVATE bool mtws__tls_pinned(const mtws__tls *t) { return (void)t, false; }

MTWS_PRIVATE const char *mtws__tls_text(const mtws__tls *t) {
    (void)t;
    return "";
}

MTWS_PRIVATE size_t mtws__trust_required(const char *ca_file, const char *ca_pem) {
    return (void)ca_file, (void)ca_pem, (size_t)0;
}

MTWS_PRIVATE mtws_result mtws__trust_make(mtws_trust **out, const char *ca_file, const char *ca_pem,
                                          void *memory, size_t size) {
    (void)out, (void)ca_file, (void)ca_pem, (void)memory, (void)size;
    return MTWS_ERR_TLS;
}

MTWS_PRIVATE void **mtws__trust_block(mtws_trust *trust) { return (void **)(void *)trust; }
MTWS_PRIVATE size_t mtws__trust_anchors(const mtws_trust *trust) { return (void)trust, (size_t)0; }
MTWS_PRIVATE void mtws__tls_set_trust(mtws__tls *t, const mtws_trust *trust) {
    (void)t, (void)trust;
}

MTWS_PRIVATE size_t mtws__tls_anchors(const mtws__tls *t) { return (void)t, (size_t)0; }
MTWS_PRIVATE size_t mtws__tls_unsent(const mtws__tls *t) { return (void)t, (size_t)0; }
MTWS_PRIVATE bool mtws__tls_more(const mtws__tls *t) { return (void)t, false; }
MTWS_PRIVATE int mtws__tls_push(mtws__tls *t) { return (void)t, 0; }
MTWS_PRIVATE void mtws__tls_finish(mtws__tls *t) { (void)t; }
MTWS_PRIVATE void mtws__tls_destroy(mtws__tls *t) { (void)t; }

#endif

/* What of the options is for our own TLS; NULL: nothing is. */
MTWS_PRIVATE const char *mtws__tls_option(const mtws_options *o) {
    if (o->trust != NULL) return "trust";
    if (o->ca_file != NULL) return "ca_file";
    if (o->ca_pem != NULL) return "ca_pem";
    if (o->client_cert_pem != NULL) return "client_cert_pem";
    if (o->client_key_pem != NULL) return "client_key_pem";
    if (o->pin_sha256 != NULL) return "pin_sha256";
    if (o->server_name != NULL) return "server_name";
    return o->insecure_skip_verify ? "insecure_skip_verify" : NULL;
}

/* ==========================================================================
 * >>client
 * uses: platform, bytes, names, base64, utf8, json, random, url, http, handshake, frame, message,
 *       queue, backoff, heartbeat, net, proxy, tls
 * The state machine, and what drives it: one table, one function that changes the state, one that
 * resets what belongs to a connection.
 */

/* Of the connection; the state is what the program sees. After a violation what comes is thrown
 * away for a while, so that no reset destroys what is still on its way to the server. */
typedef enum mtws__phase {
    MTWS__PHASE_NONE,      /* there is none */
    MTWS__PHASE_OPENING,   /* name, TCP, TLS */
    MTWS__PHASE_UPGRADING, /* request and answer */
    MTWS__PHASE_OPEN,
    MTWS__PHASE_CLOSING,  /* our Close frame is made; the server's, or TCP's end, is awaited */
    MTWS__PHASE_LINGERING /* after a violation */
} mtws__phase;

typedef enum mtws__cause {
    MTWS__CAUSE_NONE,
    MTWS__CAUSE_CONNECT, /* mtws_connect */
    MTWS__CAUSE_OPENED,  /* the upgrade was answered */
    MTWS__CAUSE_FAILED,  /* an attempt or a connection failed */
    MTWS__CAUSE_RETRY,   /* there will be another attempt */
    MTWS__CAUSE_OFFLINE, /* not before the network is back */
    MTWS__CAUSE_GIVE_UP, /* there will be none */
    MTWS__CAUSE_STOP     /* mtws_disconnect, or a clean close without reconnecting */
} mtws__cause;

enum {
    MTWS__CALLS_MAX = 1024, /* to the system by one mtws_poll that does not wait: see WORK */
    MTWS__LINGER_US = 250000,
    MTWS__GAP_US = 1000000,      /* so late for a timer, nobody looked: see client_gap */
    MTWS__GAPS_MAX = 3,          /* in a row that restart deadlines without a sign of life */
    MTWS__CONTROL_ROOM = 2048,   /* control frames that wait to be written */
    MTWS__CONTROL_RESERVE = 256, /* of it for Close and Pings */
    MTWS__FRAMES_PER_STEP = 4096,
    MTWS__READS_PER_STEP = 64,
    MTWS__WRITES_PER_STEP = 64,
    MTWS__PONG_FLUSHES = 8,      /* of a full control room within one step */
    MTWS__INFORMATIONAL_MAX = 8, /* 1xx answers before the one that counts */
    MTWS__REDIRECTS_MAX = 5,     /* in one attempt */
    MTWS__FLUSH_SIZE = 65536,    /* handed over before replies are flushed ... */
    MTWS__FLUSH_US = 1000,       /* ... or this long after the last flush */
    MTWS__STRIKES_MAX = 3,
    MTWS__RETRY_AFTER_MAX_MS = 3600000,
    MTWS__REASON_MAX = 256,
    MTWS__LOG_MAX = 512,
    MTWS__OFFER_MAX = 16384, /* bytes of one write to a transport of the user's: a TLS record */
    MTWS__BEAT_MAX = 512,    /* longer messages are not looked at for heartbeats in JSON */
    MTWS__STAMP_MAX = 32,    /* a timestamp in JSON, as written */
    MTWS__STAMP_BITS = 52,   /* of ours: with more, what counts in doubles would not repeat them */
    MTWS__IDLE_MAX = 32,     /* waits in a row that end at once for nothing ... */
    MTWS__NAP_MS = 10,       /* ... before a pause of so long */
    MTWS__WATCH_US = 10000,  /* between two looks at network changes, where nothing tells of one */
    MTWS__SECRET_MIN = 4,    /* shorter words are not taken for secrets */
    MTWS__REQUEST_EXTRA = 512, /* the request's own lines, beside what the user gives */
    MTWS__SOURCES = 3,
    MTWS__MAIN = 0, /* the queue that outlives connections */
    MTWS__FIRST_QUEUE = 1,
    MTWS__PARTS = 2,
    MTWS__CONTROL = 3,
    MTWS__BEAT = 4,
    MTWS__NOWHERE = -1
};

/* Why the last attempt or connection ended. */
typedef struct mtws__failure {
    mtws_result result;
    uint16_t close_code;
    uint16_t http_status;
    bool final;    /* no retry can mend it */
    bool stubborn; /* nor, perhaps, this: retried at the maximum delay */
    bool full;     /* the server asked for a full delay */
    uint64_t retry_after_ms;
    char text[MTWS__REASON_MAX];
} mtws__failure;

/* All that belongs to one connection; zeroed for each. */
typedef struct mtws__connection {
    mtws__phase phase;
    bool transport_open; /* the transport's open was called, so its close must be */
    bool secure;         /* the transport is our own TLS over our own network */
    bool readable;       /* a read may give something without waiting */
    bool drained;        /* the last read said that there is no more */
    bool blocked;        /* the last write said that there is no room */
    bool input_ended;    /* no byte will come any more */
    bool output_ended;   /* no byte can leave any more */
    int output_result;   /* what the transport's write said then */
    bool unparsed;       /* something that arrived may still be waiting to be handed over */
    bool held;           /* a message waits until the program is not paused any more */
    bool full;           /* the receive buffer is full */
    bool close_made;     /* our Close frame is in the control room: nothing follows it */
    bool close_written;
    bool close_heard;     /* the server's Close came */
    bool doomed;          /* failure says already why this connection ends */
    bool released;        /* mtws_release_queue */
    int gaps;             /* restarts of this phase's deadlines since a question was answered */
    uint64_t deadline_us; /* of the present phase; UINT64_MAX: none */
    uint64_t opened_us;
    char key[MTWS__KEY_SIZE + 1];
    size_t request_size, request_at;
    mtws__http http;
    int informational; /* 1xx answers so far */
    mtws__heartbeat heartbeat;
    uint64_t unasked_us;   /* since when messages are out that no Ping asks about; UINT64_MAX */
    uint64_t asked_cursor; /* of the main queue, when the last Ping was made ... */
    uint64_t asked_next;   /* ... and its next entry */
    uint8_t control[MTWS__CONTROL_ROOM];
    size_t control_size;
    size_t ping_left;                /* of it, up to the end of the latest Ping */
    uint64_t question_at;            /* stats.bytes_sent before the latest Ping or heartbeat */
    uint8_t pong[MTWS__CONTROL_MAX]; /* the latest that did not fit */
    int pong_size;                   /* -1: none */
    int pong_flushes;
    mtws__heartbeat beat;                          /* of heartbeats in JSON */
    uint8_t beat_frame[MTWS__STAMP_MAX * 2 + 128]; /* one of them, or an answer to one */
    size_t beat_size, beat_at;
    uint64_t beat_sending;                /* the timestamp in that frame; 0: it is an answer */
    bool beat_wanted;                     /* a heartbeat is to be put there */
    char beat_stamp[MTWS__STAMP_MAX + 1]; /* the server's that is still to be answered, or "" */
    int locked;  /* the source whose bytes the transport holds; MTWS__NOWHERE */
    int current; /* the queue in the midst of a message; MTWS__NOWHERE */
    uint16_t peer_code;
    size_t handed_size; /* since the last flush */
    uint64_t flushed_us;
} mtws__connection;

struct mtws_client {
    mtws_options options; /* defaults resolved */
    mtws_transport transport;
    mtws__net net;
    mtws__proxy proxy;    /* of the attempt under way, or the last */
    mtws__tls *tls_layer; /* over net and proxy; NULL: wss:// can't be spoken */
    bool own_net;         /* transport leads to net: bytes that were not taken are nowhere kept */
    void *block;          /* to be given to MTWS_FREE; NULL: the caller's own */
    int wake[2];
    bool in_hook; /* a hook of the user's is running: it may not call back */

    mtws_state state;    /* changed by client_move alone */
    mtws__cause pending; /* FAILED or STOP: the connection has ended, its event is still to come */
    bool connect_asked;
    bool retry_asked;
    bool stopping; /* mtws_disconnect: graceful while a connection is open */
    bool stop_now;
    uint16_t stop_code;
    char stop_reason[MTWS__CONTROL_MAX];
    uint64_t stop_deadline_us;
    bool paused;
    bool ever_opened; /* since mtws_connect */

    uint64_t now_us;
    uint64_t due_us; /* the next timer, when mtws_poll returned or began to wait */
    mtws__random random;
    bool seeded;
    int32_t attempt;  /* since the last stable connection */
    uint32_t round;   /* delays since then: the exponent */
    int32_t unopened; /* reconnecting attempts in a row that did not open */
    bool in_vain;     /* the last failure was of such an attempt */
    int watch;        /* a descriptor that tells of network changes; -1 */
    uint64_t watched_us;
    uint64_t worked_us; /* when there was last a turn for more than settled messages, ... */
    bool reported;      /* ... and whether there was one for those since */
    uint64_t moved;     /* bytes in and out, when mtws_poll was last called */
    uint64_t slept;     /* the same, when it last waited ... */
    size_t idle;        /* ... and how often in a row a wait ended at once, for nothing */
    bool network_changed;
    bool manual_offline; /* mtws_set_network, where options.network is MANUAL */
    uint64_t retry_us;
    uint32_t window; /* messages that may be unconfirmed; 0: any number */
    mtws__failure failure;

    mtws__connection connection;
    mtws__message message;
    mtws__queue queues[MTWS__SOURCES];
    struct {
        char type[MTWS__TYPE_MAX + 1];
        mtws_message_handler *handler;
        void *user;
    } handlers[MTWS_HANDLERS_MAX];
    int handler_count;
    mtws_message_handler *other_handler;
    void *other_user;
    mtws_state_handler *state_handler;
    void *state_user;

    uint64_t last_stamp; /* of the latest heartbeat in JSON */
    uint64_t next_id;
    uint64_t part_id; /* the message that parts are added to, behind what the main queue has */
                      /* before its barrier; 0: none */
    bool part_text;
    mtws__utf8 part_utf8;
    size_t refused_size; /* wire bytes that were refused; 0: none */
    int refused_queue;
    bool refused_begin; /* a message in parts, until the one before has left */
    mtws_stats stats;

    /* Texts: subprotocols, then the user's headers, then what the URL says. */
    char host[MTWS__HOST_MAX + 1];
    uint16_t port;
    bool tls;
    char proxy_text[MTWS_PROXY_MAX];       /* of the next attempt */
    char attempt_host[MTWS__HOST_MAX + 1]; /* of the attempt under way */
    uint16_t attempt_port;
    bool attempt_tls;
    int32_t redirects; /* that it followed */
    bool foreign;      /* one of them led to another origin: no credentials go there, or beyond */
    size_t headers_at, headers_size, host_field_at, target_at, userinfo_at, texts_size;
    bool has_url, has_userinfo;
    char texts[MTWS_REQUEST_MAX];
    char request[MTWS_REQUEST_MAX + MTWS__REQUEST_EXTRA];
    char answer[MTWS_ANSWER_MAX];
    size_t answer_size;      /* fields of the last whole answer in it */
    const char *subprotocol; /* in the answer, or "" */
};

/* Where the rows and columns meet is the next state; what is not there may not happen. */
MTWS_PRIVATE int mtws__client_next_state(mtws_state state, mtws__cause cause) {
    static const struct {
        mtws_state from;
        mtws__cause cause;
        mtws_state to;
    } table[] = {
        {MTWS_STATE_DISCONNECTED, MTWS__CAUSE_CONNECT, MTWS_STATE_CONNECTING},
        {MTWS_STATE_FAILED, MTWS__CAUSE_CONNECT, MTWS_STATE_CONNECTING},
        {MTWS_STATE_FAILED, MTWS__CAUSE_RETRY, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_FAILED, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
        {MTWS_STATE_CONNECTING, MTWS__CAUSE_OPENED, MTWS_STATE_CONNECTED},
        {MTWS_STATE_CONNECTING, MTWS__CAUSE_FAILED, MTWS_STATE_ERROR},
        {MTWS_STATE_CONNECTING, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
        {MTWS_STATE_CONNECTED, MTWS__CAUSE_FAILED, MTWS_STATE_ERROR},
        {MTWS_STATE_CONNECTED, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
        {MTWS_STATE_RECONNECTING, MTWS__CAUSE_OPENED, MTWS_STATE_CONNECTED},
        {MTWS_STATE_RECONNECTING, MTWS__CAUSE_FAILED, MTWS_STATE_ERROR},
        {MTWS_STATE_RECONNECTING, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
        {MTWS_STATE_RECONNECTING, MTWS__CAUSE_OFFLINE, MTWS_STATE_WAITING_FOR_NETWORK},
        {MTWS_STATE_WAITING_FOR_NETWORK, MTWS__CAUSE_RETRY, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_WAITING_FOR_NETWORK, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
        {MTWS_STATE_ERROR, MTWS__CAUSE_RETRY, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_ERROR, MTWS__CAUSE_OFFLINE, MTWS_STATE_WAITING_FOR_NETWORK},
        {MTWS_STATE_ERROR, MTWS__CAUSE_GIVE_UP, MTWS_STATE_FAILED},
        {MTWS_STATE_ERROR, MTWS__CAUSE_STOP, MTWS_STATE_DISCONNECTED},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].from == state && table[i].cause == cause) return (int)table[i].to;
    }
    return -1;
}

/* Nothing happens before the program asks for it. */
MTWS_PRIVATE bool mtws__client_is_resting(const mtws_client *ws) {
    return ws->state == MTWS_STATE_DISCONNECTED || ws->state == MTWS_STATE_FAILED;
}

/* ---- hooks --------------------------------------------------------------------------------- */

/* UINT64_MAX is when nothing is due: the clock stops before it. */
MTWS_PRIVATE uint64_t mtws__client_clock_us(mtws_client *ws) {
    if (ws->options.clock.now_us == NULL) return mtws__os_now_us();
    ws->in_hook = true;
    uint64_t now = ws->options.clock.now_us(ws->options.clock.ctx);
    ws->in_hook = false;
    return mtws__min_u64(now, UINT64_MAX - 1);
}

MTWS_PRIVATE uint64_t mtws__client_unix_ms(mtws_client *ws) {
    if (ws->options.clock.unix_ms == NULL) return mtws__os_unix_ms();
    ws->in_hook = true;
    uint64_t now = ws->options.clock.unix_ms(ws->options.clock.ctx);
    ws->in_hook = false;
    return now;
}

/* The time of this moment, where that of the last tick is not exact enough. */
MTWS_PRIVATE uint64_t mtws__client_fresh_us(mtws_client *ws) {
    return mtws__max_u64(mtws__client_clock_us(ws), ws->now_us);
}

/* From the random source; false where it fails. */
MTWS_PRIVATE bool mtws__client_entropy(mtws_client *ws, uint8_t *out, size_t size) {
    if (ws->options.random.fill == NULL) return mtws__os_entropy(out, size);
    ws->in_hook = true;
    bool ok = ws->options.random.fill(ws->options.random.ctx, out, size);
    ws->in_hook = false;
    return ok;
}

/* Seeds the generator: at each attempt, so that no two processes or connections share its keys. */
MTWS_PRIVATE bool mtws__client_seed(mtws_client *ws) {
    uint8_t seed[32];
    bool ok = mtws__client_entropy(ws, seed, sizeof seed);
    if (ok) mtws__random_seed(&ws->random, seed);
    mtws__wipe(seed, sizeof seed);
    ws->seeded = ws->seeded || ok;
    return ok;
}

/* ---- words --------------------------------------------------------------------------------- */

/* A text in which secrets are to be masked. They are looked for in it as it was, since one may be
 * a part of another. */
typedef struct mtws__redaction {
    char plain[MTWS__LOG_MAX];
    char *text;
} mtws__redaction;

/* How much of the text's start is the secret, as it is or with its percent escapes decoded; 0: it
 * is not. */
MTWS_PRIVATE size_t mtws__client_secret_at(const char *text, mtws__span secret, bool decode) {
    size_t size = 0;
    for (size_t i = 0; i < secret.size; i++, size++) {
        char c = (char)secret.data[i];
        if (decode && c == '%' && secret.size - i >= 3) {
            c = (char)mtws__hex(secret.data + i + 1, 2);
            i += 2;
        }
        if (text[size] != c || c == 0) return 0;
    }
    return size;
}

/* Overwrites each occurrence of the secret with asterisks. */
MTWS_PRIVATE void mtws__client_redact_word(mtws__redaction *r, mtws__span secret) {
    if (secret.size < MTWS__SECRET_MIN) return;
    for (size_t i = 0; r->plain[i] != 0; i++) {
        size_t size = mtws__client_secret_at(r->plain + i, secret, false);
        if (size == 0) size = mtws__client_secret_at(r->plain + i, secret, true);
        if (size > 0) memset(r->text + i, '*', size);
    }
}

/* Every part of the value that stands between separators may be a secret of its own. */
MTWS_PRIVATE void mtws__client_redact_words(mtws__redaction *r, mtws__span value,
                                            const char *separators) {
    while (value.size > 0) {
        mtws__span word = value;
        word.size = 0;
        while (word.size < value.size && !strchr(separators, (char)value.data[word.size])) {
            word.size++;
        }
        mtws__client_redact_word(r, word);
        size_t passed = mtws__min_size(word.size + 1, value.size);
        value.data += passed;
        value.size -= passed;
    }
}

/* Basic credentials hold user and password in base64. */
MTWS_PRIVATE void mtws__client_redact_basic(mtws__redaction *r, mtws__span value) {
    uint8_t decoded[MTWS__REASON_MAX];
    mtws__span userinfo;
    if (value.size < 6 || memcmp(value.data, "Basic ", 6) != 0) return;
    value.data += 6;
    value.size -= 6;
    userinfo.data = decoded;
    userinfo.size = mtws__base64_decode(decoded, sizeof decoded, value);
    mtws__client_redact_words(r, userinfo, ":");
}

/* Credentials in lines of headers. */
MTWS_PRIVATE void mtws__client_redact_headers(mtws__redaction *r, const char *at, size_t size) {
    const char *end = at + size;
    while (at < end) {
        mtws__span name, value;
        name.data = (const uint8_t *)at;
        name.size = strcspn(at, ":\r");
        if (at[name.size] != ':') break;
        value.data = name.data + name.size + 2;
        value.size = strcspn((const char *)value.data, "\r");
        if (mtws__handshake_secret(name)) {
            mtws__client_redact_words(r, value, " ;,=\"");
            mtws__client_redact_basic(r, value);
        }
        at = (const char *)value.data + value.size + 2;
    }
}

/* The values of a query, which begins behind the target's '?' and ends at a space or the end. */
MTWS_PRIVATE void mtws__client_redact_query(mtws__redaction *r, const char *target) {
    const char *at = target + strcspn(target, "? ");
    while (*at == '?' || *at == '&') {
        at++;
        at += strcspn(at, "=& ");
        if (*at != '=') continue;
        mtws__span value;
        value.data = (const uint8_t *)++at;
        value.size = strcspn(at, "& ");
        mtws__client_redact_word(r, value);
        at += value.size;
    }
}

/* User and password of a proxy. */
MTWS_PRIVATE void mtws__client_redact_proxy(mtws__redaction *r, const char *proxy) {
    const char *end = strchr(proxy, '@'), *slashes = strchr(proxy, '/');
    mtws__span userinfo;
    if (end == NULL) return;
    MTWS_ASSERT(slashes != NULL);
    userinfo.data = (const uint8_t *)slashes + 2;
    userinfo.size = (size_t)(end - slashes) - 2;
    mtws__client_redact_words(r, userinfo, ":");
}

/* Where our texts name the host, it is no secret, although some value may be the same word. */
MTWS_PRIVATE void mtws__client_keep_host(const mtws_client *ws, mtws__redaction *r) {
    size_t size = strlen(ws->host);
    if (size < MTWS__SECRET_MIN) return; /* nor masked */
    for (const char *at = r->plain; (at = strstr(at, ws->host)) != NULL; at += size) {
        if (strncmp(at + size, ", port ", 7) == 0) memcpy(r->text + (at - r->plain), at, size);
    }
}

/* Texts that leave this room, logs and reasons alike, pass through here: credentials in headers,
 * those of a proxy, the URL's userinfo and the values of its query are masked, even where a server
 * echoes them; those of the last request too, since the program may have set others meanwhile. */
MTWS_PRIVATE void mtws__client_redact(const mtws_client *ws, char *text) {
    mtws__redaction redaction, *r = &redaction;
    size_t size = strlen(text) + 1;
    MTWS_ASSERT(size <= sizeof r->plain);
    memcpy(r->plain, text, size);
    r->text = text;
    mtws__client_redact_headers(r, ws->texts + ws->headers_at, ws->headers_size);
    if (ws->request[0] != 0) {
        size_t line_size = strcspn(ws->request, "\n") + 1;
        mtws__client_redact_query(r, ws->request + strcspn(ws->request, " ") + 1);
        mtws__client_redact_headers(r, ws->request + line_size, strlen(ws->request) - line_size);
    }
    mtws__client_redact_proxy(r, ws->proxy.text);
    mtws__client_redact_proxy(r, ws->proxy_text);
    if (!ws->has_url) return;
    mtws__client_redact_query(r, ws->texts + ws->target_at);
    mtws__client_redact_words(r, mtws__span_of(ws->texts + ws->userinfo_at), ":");
    mtws__client_keep_host(ws, r);
}

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
MTWS_PRIVATE void
mtws__log(mtws_client *ws, mtws_level level, const char *item, const char *format, ...) {
    if (ws->options.logger.log == NULL || level > ws->options.logger.level) return;
    char text[MTWS__LOG_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    mtws__client_redact(ws, text);
    ws->in_hook = true;
    ws->options.logger.log(ws->options.logger.ctx, level, item, text);
    ws->in_hook = false;
}

/* The logger of options.debug. */
MTWS_PRIVATE void mtws__log_to_stderr(void *ctx, mtws_level level, const char *item,
                                      const char *text) {
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    (void)ctx;
    fprintf(stderr, "mtws %s: %s: %s\n", names[level], item, text);
}

/* Copies what a server said, fit for people's eyes. */
MTWS_PRIVATE void mtws__client_clean_text(char *out, size_t capacity, mtws__span text) {
    size_t size = mtws__min_size(text.size, capacity - 1);
    /* A text that is cut is not cut within a character. */
    while (size > 0 && size < text.size && (text.data[size] & 0xc0) == 0x80) size--;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = text.data[i];
        out[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
        /* U+0080 to U+009F too: terminals take U+009B for the start of a command. */
        if (i > 0 && text.data[i - 1] == 0xc2 && c < 0xa0) out[i - 1] = out[i] = '?';
    }
    out[size] = 0;
}

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
MTWS_PRIVATE void
mtws__client_set_failure(mtws_client *ws, mtws_result result, const char *format, ...) {
    memset(&ws->failure, 0, sizeof ws->failure);
    ws->failure.result = result;
    va_list list;
    va_start(list, format);
    vsnprintf(ws->failure.text, sizeof ws->failure.text, format, list);
    va_end(list);
    mtws__client_redact(ws, ws->failure.text);
}

/* ---- one connection ------------------------------------------------------------------------- */

/* Resets every field that belongs to one connection. */
MTWS_PRIVATE void mtws__client_reset_connection(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    memset(c, 0, sizeof *c);
    c->deadline_us = c->unasked_us = UINT64_MAX;
    c->pong_size = -1;
    c->locked = c->current = MTWS__NOWHERE;
    c->heartbeat.wanted_us = c->beat.wanted_us = UINT64_MAX;
    c->heartbeat.look_us = c->beat.look_us = UINT64_MAX;
    c->flushed_us = ws->now_us;
    mtws__message_start(&ws->message, ws->message.data, ws->options.max_message_size,
                        ws->options.stream_messages);
    if (ws->options.heartbeat == MTWS_HEARTBEAT_JSON) ws->message.small_size = MTWS__BEAT_MAX;
}

/* The heartbeat that is judged. Pings ask about messages in any case. */
MTWS_PRIVATE mtws__heartbeat *mtws__client_heart(mtws_client *ws) {
    bool json = ws->options.heartbeat == MTWS_HEARTBEAT_JSON;
    return json ? &ws->connection.beat : &ws->connection.heartbeat;
}

/* Messages on the wire that the server has not confirmed, one that is partly there included. */
MTWS_PRIVATE size_t mtws__client_in_flight(const mtws_client *ws) {
    size_t count = 0;
    for (int i = 0; i < MTWS__SOURCES; i++) {
        const mtws__queue *q = &ws->queues[i];
        count += mtws__queue_unconfirmed(q) + (mtws__queue_mid_message(q) ? 1 : 0);
    }
    return count;
}

/* A message that is alone in flight each time when the server closes is taken for the cause. */
MTWS_PRIVATE void mtws__client_judge_poison(mtws_client *ws) {
    mtws__queue *q = &ws->queues[MTWS__MAIN];
    uint16_t code = ws->failure.close_code;
    bool blamed = ws->failure.result == MTWS_ERR_CLOSED &&
                  (code == 1003 || (code >= 1007 && code <= 1009) || code == 1011);
    if (q->live == q->end || mtws__client_in_flight(ws) == 0) return;
    mtws__entry *e = mtws__queue_entry(q, q->live);
    bool alone = mtws__client_in_flight(ws) == 1 && mtws__queue_begun(q, q->live);
    if (!blamed || !alone) {
        e->strikes = 0;
    } else if (++e->strikes == MTWS__STRIKES_MAX) {
        mtws__log(ws, MTWS_LOG_ERROR, "message_refused",
                  "message %llu is dropped: the server closed with %u three times in a row when it "
                  "was alone in flight; change what is sent, or the server's limits",
                  (unsigned long long)e->id, (unsigned)code);
        e->flags |= MTWS_NO_QUEUE; /* it goes with this connection */
    }
}

/* Ends the connection, whatever it is in; `cause` becomes an event. */
MTWS_PRIVATE void mtws__client_end(mtws_client *ws, mtws__cause cause) {
    mtws__connection *c = &ws->connection;
    bool was_open = c->phase >= MTWS__PHASE_OPEN;
    ws->net.now_us = ws->now_us;
    if (c->transport_open && ws->own_net && !was_open) mtws__net_doubt(&ws->net);
    if (c->transport_open) {
        ws->in_hook = true;
        ws->transport.close(ws->transport.ctx);
        ws->in_hook = false;
    }
    if (was_open) {
        const mtws__heartbeat *h = mtws__client_heart(ws);
        bool stable = ws->now_us - c->opened_us >= (uint64_t)ws->options.stable_ms * 1000 &&
                      (h->interval_us == 0 || h->answered);
        if (stable) {
            ws->attempt = 0;
            ws->round = 0;
        }
        mtws__client_judge_poison(ws);
        bool asks =
            ws->options.confirm == MTWS_CONFIRM_PONG && ws->options.confirm_delay_ms != MTWS_OFF;
        if (asks && mtws__queue_unconfirmed(&ws->queues[MTWS__MAIN]) > 0) ws->window = 1;
        mtws_result why = ws->failure.result;
        if (why == MTWS_OK) why = MTWS_ERR_DISCONNECTED;
        for (int i = 0; i < MTWS__SOURCES; i++) mtws__queue_reset(&ws->queues[i], why);
        ws->part_id = 0;
    }
    ws->in_vain = !was_open && ws->state == MTWS_STATE_RECONNECTING;
    mtws__client_reset_connection(ws);
    ws->pending = cause;
}

MTWS_PRIVATE void mtws__client_control_frame(mtws_client *ws, uint8_t opcode, const uint8_t *data,
                                             size_t size) {
    mtws__connection *c = &ws->connection;
    MTWS_ASSERT(!c->close_made);
    MTWS_ASSERT(size <= MTWS__CONTROL_MAX && c->control_size + size + 6 <= sizeof c->control);
    uint8_t key[4];
    mtws__random_fill(&ws->random, key, 4);
    uint8_t *to = c->control + c->control_size;
    size_t header = mtws__frame_encode(to, opcode, true, size, key);
    mtws__frame_mask(to + header, data, size, key, 0);
    c->control_size += header + size;
}

/* The Pong that did not fit goes in where there is room now. */
MTWS_PRIVATE void mtws__client_late_pong(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    size_t limit = sizeof c->control - MTWS__CONTROL_RESERVE;
    if (c->pong_size < 0 || c->close_made ||
        limit - mtws__min_size(limit, c->control_size) < (size_t)c->pong_size + 6)
        return;
    mtws__client_control_frame(ws, MTWS__PONG, c->pong, (size_t)c->pong_size);
    c->pong_size = -1;
}

/* When a close that begins then has taken too long. */
MTWS_PRIVATE uint64_t mtws__client_close_us(const mtws_client *ws, uint64_t begun_us) {
    return mtws__add_u64(begun_us, (uint64_t)ws->options.close_timeout_ms * 1000);
}

/* Whether only what goes first may leave: the queue waits for mtws_release_queue. */
MTWS_PRIVATE bool mtws__client_is_held(const mtws_client *ws) {
    return ws->options.hold_queue && !ws->connection.released;
}

/* The first entry of the main queue that may not leave now. */
MTWS_PRIVATE uint64_t mtws__client_limit(const mtws_client *ws) {
    const mtws__queue *q = &ws->queues[MTWS__MAIN];
    const mtws__queue *first = &ws->queues[MTWS__FIRST_QUEUE];
    MTWS_ASSERT(!mtws__client_is_held(ws));
    uint64_t limit = q->end;
    if (ws->window > 0) {
        /* A login must be confirmed before the first message is sent again, so that a server
         * which refuses that message is known to refuse it. */
        if (ws->window == 1 && first->live < first->end) return q->next;
        limit = mtws__min_u64(limit, q->live + ws->window);
    }
    if (ws->part_id != 0 || ws->queues[MTWS__PARTS].next < ws->queues[MTWS__PARTS].end) {
        limit = mtws__min_u64(limit, q->barrier);
    }
    return limit;
}

/* The queue whose turn it is, at the end of a message; MTWS__NOWHERE: none has anything to say. */
MTWS_PRIVATE int mtws__client_turn(const mtws_client *ws) {
    const mtws__queue *parts = &ws->queues[MTWS__PARTS];
    const mtws__queue *q = &ws->queues[MTWS__MAIN];
    if (mtws__queue_has_output(&ws->queues[MTWS__FIRST_QUEUE], UINT64_MAX)) {
        return MTWS__FIRST_QUEUE;
    }
    if (mtws__client_is_held(ws)) return MTWS__NOWHERE;
    if (mtws__queue_has_output(parts, UINT64_MAX) && q->next >= q->barrier) {
        return MTWS__PARTS;
    }
    return mtws__queue_has_output(q, mtws__client_limit(ws)) ? MTWS__MAIN : MTWS__NOWHERE;
}

/* The next bytes to write, and where they come from. Control frames go between frames, the three
 * queues between messages; what the transport holds goes before everything. */
MTWS_PRIVATE mtws__span mtws__client_output(mtws_client *ws, int *source) {
    mtws__connection *c = &ws->connection;
    mtws__span span;
    span.data = c->control;
    span.size = c->control_size;
    mtws__queue *current = c->current == MTWS__NOWHERE ? NULL : &ws->queues[c->current];
    bool mid_frame = current != NULL && current->cursor < mtws__queue_boundary(current);
    *source = c->locked;
    if (c->locked == MTWS__NOWHERE) {
        if (c->beat_at > 0) *source = MTWS__BEAT;
        else if (mid_frame && c->control_size > 0) *source = c->current;
        else if (c->control_size > 0 || c->close_made) *source = MTWS__CONTROL;
        else if (current != NULL) *source = c->current;
        else *source = c->beat_size > 0 ? (int)MTWS__BEAT : mtws__client_turn(ws);
    }
    if (*source == MTWS__CONTROL) return span;
    span.data = c->beat_frame + c->beat_at;
    span.size = *source == MTWS__BEAT ? c->beat_size - c->beat_at : 0;
    if (*source == MTWS__BEAT) return span;
    if (*source == MTWS__NOWHERE) return span;
    bool one_frame = mid_frame && c->control_size > 0;
    uint64_t limit = UINT64_MAX;
    if (*source == MTWS__MAIN) {
        /* What goes first waits for the end of the present message, not for all of them. */
        bool yields =
            mtws__queue_has_output(&ws->queues[MTWS__FIRST_QUEUE], UINT64_MAX) || c->beat_size > 0;
        limit = yields ? 0 : mtws__client_limit(ws);
    }
    return mtws__queue_peek(&ws->queues[*source], limit, one_frame, &ws->random);
}

/* Bytes that were written before the latest question and that the peer's system has not
 * acknowledged. */
MTWS_PRIVATE size_t mtws__client_unsent(const mtws_client *ws) {
    if (!ws->own_net) return 0;
    uint64_t sent = ws->stats.bytes_sent;
    size_t unsent = mtws__os_unsent(ws->net.fd);
    if (ws->connection.secure) unsent += mtws__tls_unsent(ws->tls_layer);
    uint64_t arrived = sent - mtws__min_u64(sent, unsent);
    uint64_t asked = ws->connection.question_at;
    return (size_t)(asked - mtws__min_u64(asked, arrived));
}

MTWS_PRIVATE void mtws__client_wrote(mtws_client *ws, int source, size_t size) {
    mtws__connection *c = &ws->connection;
    ws->stats.bytes_sent += size;
    c->locked = MTWS__NOWHERE;
    mtws__heartbeat *h = mtws__client_heart(ws);
    /* While a question waits for room, bytes that leave before it are a sign of life. */
    bool waits = h->count > 0 ? h->unwritten == h->count : h->wanted_us != UINT64_MAX;
    if (waits) h->alive_us = ws->now_us;
    if (source == MTWS__CONTROL) {
        MTWS_ASSERT(size <= c->control_size);
        c->control_size -= size;
        bool pinged = c->ping_left > 0 && size >= c->ping_left;
        size_t behind = size - mtws__min_size(size, c->ping_left); /* the Ping */
        c->ping_left -= mtws__min_size(size, c->ping_left);
        memmove(c->control, c->control + size, c->control_size);
        if (pinged) {
            uint64_t now_us = mtws__client_fresh_us(ws);
            c->question_at = ws->stats.bytes_sent - behind - MTWS__PING_SIZE - 6;
            size_t unsent = mtws__client_unsent(ws);
            mtws__heartbeat_written(&c->heartbeat, now_us, unsent);
            mtws__heartbeat_written(&c->beat, now_us, unsent);
        }
        if (c->control_size > 0) return;
        c->close_written = c->close_made;
        mtws__client_late_pong(ws);
        return;
    }
    if (source == MTWS__BEAT) {
        c->beat_at += size;
        if (c->beat_at < c->beat_size) return;
        size_t frame_size = c->beat_size;
        c->beat_at = c->beat_size = 0;
        if (c->beat_sending == 0) return;
        c->question_at = ws->stats.bytes_sent - frame_size;
        mtws__heartbeat_stamped(&c->beat, c->beat_sending, mtws__client_fresh_us(ws),
                                mtws__client_unsent(ws));
        return;
    }
    mtws__queue *q = &ws->queues[source];
    size_t completed = mtws__queue_wrote(q, size);
    ws->stats.messages_sent += completed;
    c->current = mtws__queue_mid_message(q) ? source : MTWS__NOWHERE;
    if (completed > 0 && ws->options.confirm == MTWS_CONFIRM_NONE) {
        mtws__queue_confirm(q, q->next);
    } else if (completed > 0) {
        c->unasked_us = mtws__min_u64(c->unasked_us, ws->now_us);
    }
}

/* A write failed. What the server said before is read first: it may say why. */
MTWS_PRIVATE void mtws__client_end_output(mtws_client *ws, ptrdiff_t result) {
    ws->connection.output_ended = true;
    ws->connection.output_result = (int)result;
    ws->connection.readable = true;
}

/* The transport's own result becomes the failure's, unless that is known already. */
MTWS_PRIVATE void mtws__client_blame_transport(mtws_client *ws, ptrdiff_t result) {
    mtws__connection *c = &ws->connection;
    if (result >= 0 || result == MTWS_IO_EOF || result == MTWS_IO_ERROR || c->doomed) return;
    const char *text = c->secure ? mtws__tls_text(ws->tls_layer) : mtws__result_text((int)result);
    mtws__client_set_failure(ws, (mtws_result)result, "the transport failed: %s", text);
    c->doomed = true;
}

/* Writes what there is to write, until the transport has no room. */
MTWS_PRIVATE void mtws__client_flush(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    c->blocked = false;
    for (int i = 0; i < MTWS__WRITES_PER_STEP && !c->output_ended; i++) {
        int source;
        mtws__span span = mtws__client_output(ws, &source);
        if (span.size == 0) break;
        /* A transport of the user's may keep what it was shown: what it holds can't be dropped. */
        if (!ws->own_net) span.size = mtws__min_size(span.size, MTWS__OFFER_MAX);
        ws->in_hook = true;
        ptrdiff_t put = ws->transport.write(ws->transport.ctx, span.data, span.size);
        ws->in_hook = false;
        if (put > 0) {
            MTWS_ASSERT((size_t)put <= span.size);
            mtws__client_wrote(ws, source, (size_t)put);
            c->blocked = ws->own_net && (size_t)put < span.size;
            if (c->blocked) break;
        } else if (put == MTWS_IO_AGAIN || put == 0) {
            c->blocked = true;
            if (ws->own_net) break; /* the kernel keeps nothing that it did not take */
            c->locked = source;
            if (source < MTWS__SOURCES) mtws__queue_offer(&ws->queues[source], span.size);
            break;
        } else {
            mtws__client_end_output(ws, put);
        }
    }
    /* What is left of records leaves too; errors are met by reading. */
    if (c->secure) mtws__tls_push(ws->tls_layer);
    c->flushed_us = ws->now_us;
    c->handed_size = 0;
}

/* Reads once, or with a transport of the user's until it says that there is no more; at most so
 * many bytes, and says how many. */
MTWS_PRIVATE size_t mtws__client_read(mtws_client *ws, size_t limit) {
    mtws__connection *c = &ws->connection;
    size_t total = 0;
    c->drained = false;
    for (int i = 0; i < MTWS__READS_PER_STEP && !c->input_ended; i++) {
        uint8_t *to;
        size_t room = mtws__message_room(&ws->message, &to);
        c->full = room == 0;
        room = mtws__min_size(room, limit - total);
        if (room == 0) break;
        ws->in_hook = true;
        ptrdiff_t got = ws->transport.read(ws->transport.ctx, to, room);
        ws->in_hook = false;
        if (got > 0) {
            MTWS_ASSERT((size_t)got <= room);
            mtws__message_filled(&ws->message, (size_t)got);
            ws->stats.bytes_received += (uint64_t)got;
            total += (size_t)got;
            c->unparsed = true;
            mtws__client_heart(ws)->alive_us = ws->now_us;
            /* TCP gives all it has, so a short read saves the one that says AGAIN. */
            c->drained = ws->own_net && (size_t)got < room;
            if (c->secure) c->drained = !mtws__tls_more(ws->tls_layer);
            c->readable = !c->drained;
            if (ws->own_net) break;
            c->readable = true;
        } else if (got == MTWS_IO_AGAIN || got == 0) {
            c->drained = !c->secure || !mtws__tls_more(ws->tls_layer);
            c->readable = !c->drained;
            break;
        } else {
            c->input_ended = true;
            mtws__client_blame_transport(ws, got);
        }
    }
    return total;
}

/* Whether it is certain that no attempt can succeed now. */
MTWS_PRIVATE bool mtws__client_is_offline(const mtws_client *ws) {
    if (ws->options.network == MTWS_NETWORK_MANUAL) return ws->manual_offline;
    return ws->watch >= 0 && mtws__net_is_offline(&ws->net);
}

/* ---- attempts ------------------------------------------------------------------------------- */

/* "host, port 80", and the proxy where there is one: what an attempt is about. */
MTWS_PRIVATE void mtws__client_where(const mtws_client *ws, char *out, size_t size) {
    int used = snprintf(out, size, "%s, port %u", ws->attempt_host, (unsigned)ws->attempt_port);
    MTWS_ASSERT(used > 0 && (size_t)used < size);
    if (ws->proxy.text[0] == 0) return;
    snprintf(out + used, size - (size_t)used, ", through the proxy %s, port %u", ws->proxy.host,
             (unsigned)ws->proxy.url.port);
}

/* Where the next connection of the attempt leads, and what it goes through: the network or the
 * user's transport, and a proxy over it. */
MTWS_PRIVATE void mtws__client_aim(mtws_client *ws, const char *host, uint16_t port, bool tls) {
    /* The network is known by the addresses of whom it reaches first. */
    bool same = ws->proxy.text[0] != 0 || strcmp(ws->attempt_host, host) == 0;
    if (!same) mtws__net_forget(&ws->net);
    memcpy(ws->attempt_host, host, strlen(host) + 1);
    ws->attempt_port = port;
    ws->attempt_tls = tls;
    if (ws->own_net) mtws__net_transport(&ws->net, &ws->transport);
    else ws->transport = ws->options.transport;
    mtws__proxy_transport(&ws->proxy, &ws->transport);
}

MTWS_PRIVATE void mtws__client_fail_attempt(mtws_client *ws, mtws_result result) {
    const char *what = "the transport could not connect";
    char where[MTWS__LOG_MAX];
    bool refused = result == MTWS_ERR_PROXY && ws->proxy.why[0] != 0;
    if (refused) what = ws->proxy.why;
    else if (ws->own_net && (result == MTWS_ERR_RESOLVE || result == MTWS_ERR_CONNECT)) {
        what = mtws__net_why(&ws->net, result);
    } else if (ws->connection.secure && mtws__tls_text(ws->tls_layer)[0] != 0) {
        what = mtws__tls_text(ws->tls_layer);
    }
    if (mtws__client_is_offline(ws)) {
        result = MTWS_ERR_OFFLINE;
        what = "the network is down";
    }
    mtws__client_where(ws, where, sizeof where);
    mtws__client_set_failure(ws, result, "%s: %s", where, what);
    bool stubborn = result == MTWS_ERR_TLS_TRUST || result == MTWS_ERR_TLS_NAME;
    if (refused) {
        uint16_t status = ws->proxy.status;
        stubborn = ws->proxy.stubborn;
        ws->failure.http_status = status;
        if (status == 429 || status == 503) {
            uint64_t unix_ms = mtws__client_unix_ms(ws);
            ws->failure.retry_after_ms = mtws__http_retry_after_ms(&ws->proxy.http, unix_ms);
        }
    }
    ws->failure.final = stubborn && !ws->ever_opened;
    ws->failure.stubborn = stubborn;
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

MTWS_PRIVATE void mtws__client_make_request(mtws_client *ws, const char *host_field,
                                            const char *target) {
    mtws__connection *c = &ws->connection;
    uint8_t nonce[16];
    mtws__random_fill(&ws->random, nonce, sizeof nonce);
    mtws__writer w;
    mtws__writer_open(&w, c->key, sizeof c->key);
    mtws__base64_encode(&w, nonce, sizeof nonce);

    mtws__upgrade u;
    memset(&u, 0, sizeof u);
    u.host_field = host_field;
    u.target = target;
    u.foreign = ws->foreign;
    u.key = c->key;
    u.subprotocols = ws->texts;
    u.headers.data = (const uint8_t *)ws->texts + ws->headers_at;
    u.headers.size = ws->headers_size;
    if (ws->has_userinfo) u.userinfo = mtws__span_of(ws->texts + ws->userinfo_at);
    const char *at = ws->texts + ws->headers_at;
    const char *end = at + ws->headers_size;
    while (at < end) {
        mtws__span name;
        name.data = (const uint8_t *)at;
        name.size = strcspn(at, ":");
        u.has_host = u.has_host || mtws__span_is(name, "Host");
        u.has_agent = u.has_agent || mtws__span_is(name, "User-Agent");
        u.has_authorization = u.has_authorization || mtws__span_is(name, "Authorization");
        at += strcspn(at, "\n") + 1;
    }
    mtws__writer_open(&w, ws->request, sizeof ws->request);
    mtws__handshake_request(&w, &u);
    MTWS_ASSERT(!w.full);
    c->request_size = w.size;
}

/* Puts TLS of our own over what the attempt goes through, where its URL asks for it. False: the
 * random source failed. */
MTWS_PRIVATE bool mtws__client_secure(mtws_client *ws) {
    uint8_t seed[MTWS__TLS_SEED_SIZE];
    ws->connection.secure = ws->own_net && ws->attempt_tls;
    if (!ws->connection.secure) return true;
    MTWS_ASSERT(ws->tls_layer != NULL); /* as mtws__client_need_tls has seen */
    if (!mtws__client_entropy(ws, seed, sizeof seed)) return false;
    mtws__tls_prepare(ws->tls_layer, &ws->transport, true, seed, mtws__client_unix_ms(ws));
    mtws__tls_transport(ws->tls_layer, &ws->transport);
    mtws__wipe(seed, sizeof seed);
    return true;
}

/* Ends the attempt; another one may find that the source works again. */
MTWS_PRIVATE void mtws__client_no_entropy(mtws_client *ws) {
    mtws__client_set_failure(ws, MTWS_ERR_ENTROPY, "the system's random source failed");
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

MTWS_PRIVATE void mtws__client_start_attempt(mtws_client *ws) {
    if (ws->attempt < INT32_MAX) ws->attempt++;
    ws->retry_asked = false;
    ws->idle = 0; /* attempts that fail at once, one after the other, are no broken poll */
    mtws__client_reset_connection(ws);
    mtws__connection *c = &ws->connection;
    char where[MTWS__LOG_MAX];
    if (strcmp(ws->proxy.text, ws->proxy_text) != 0) mtws__net_forget(&ws->net);
    mtws__proxy_set(&ws->proxy, ws->proxy_text);
    mtws__client_aim(ws, ws->host, ws->port, ws->tls);
    ws->redirects = 0;
    ws->foreign = false;
    if (!mtws__client_seed(ws) || !mtws__client_secure(ws)) {
        mtws__client_no_entropy(ws);
        return;
    }
    c->phase = MTWS__PHASE_OPENING;
    c->deadline_us = mtws__add_u64(ws->now_us, (uint64_t)ws->options.connect_timeout_ms * 1000);
    mtws__client_make_request(ws, ws->texts + ws->host_field_at, ws->texts + ws->target_at);
    mtws__client_where(ws, where, sizeof where);
    mtws__log(ws, MTWS_LOG_INFO, "attempt", "attempt %d: connecting to %s", ws->attempt, where);
}

/* Takes over the options of TLS, in memory for it; size 0: there is no TLS of our own. */
MTWS_PRIVATE mtws_result mtws__client_start_tls(mtws_client *ws, uint8_t *memory, size_t size,
                                                const mtws__tls_layout *layout) {
    mtws_options *o = &ws->options;
    const char *option = mtws__tls_option(o), *wrong = "";
    mtws_result result = MTWS_OK;
    if (size > 0) {
        mtws__tls *tls = (mtws__tls *)(void *)memory;
        result = mtws__tls_create(tls, o, layout, &wrong);
        if (result == MTWS_OK) ws->tls_layer = tls;
        else mtws__log(ws, MTWS_LOG_ERROR, "bad_tls_option", "%s", wrong);
    } else if (option != NULL) {
        result = ws->own_net ? MTWS_ERR_TLS : MTWS_ERR_ARGUMENT;
        mtws__log(ws, MTWS_LOG_ERROR, "bad_tls_option", "options.%s does nothing %s", option,
                  ws->own_net ? "in a build without MTWS_BEARSSL" : "beside options.transport");
    }
    if (result == MTWS_OK && o->insecure_skip_verify) {
        mtws__log(ws, MTWS_LOG_WARN, "tls_insecure",
                  "options.insecure_skip_verify: %s whom wss:// talks to",
                  o->pin_sha256 == NULL ? "nobody will check" : "pins alone will say");
    }
    o->ca_file = o->ca_pem = o->client_cert_pem = o->client_key_pem = NULL;
    o->pin_sha256 = o->server_name = NULL;
    return result;
}

/* There is a wss:// URL. MTWS_OK, or why it can't be. */
MTWS_PRIVATE mtws_result mtws__client_need_tls(mtws_client *ws) {
    const char *path = NULL;
    if (!ws->own_net && ws->proxy_text[0] == 0) return MTWS_OK;
    if (!ws->own_net) {
        mtws__log(ws, MTWS_LOG_ERROR, "no_tls",
                  "wss:// through options.proxy: options.transport does the TLS, so it must go "
                  "through the proxy itself; see mtws_net_set_proxy");
        return MTWS_ERR_TLS;
    }
    if (ws->tls_layer == NULL) {
        mtws__log(ws, MTWS_LOG_ERROR, "no_tls",
                  "wss:// needs MTWS_BEARSSL to be defined where MTWS_IMPLEMENTATION is, and "
                  "-lbearssl; or options.transport with another TLS library");
        return MTWS_ERR_TLS;
    }
    mtws_result result = mtws__tls_load(ws->tls_layer, NULL, NULL, &path);
    if (result != MTWS_OK) {
        mtws__log(ws, MTWS_LOG_ERROR, "no_trust",
                  "there are no roots to trust (%s): set options.ca_file, ca_pem or trust",
                  mtws__tls_text(ws->tls_layer));
    } else if (path != NULL) {
        mtws__log(ws, MTWS_LOG_INFO, "trust", "%u roots from %s",
                  (unsigned)mtws__tls_anchors(ws->tls_layer), path);
    }
    return result;
}

MTWS_PRIVATE void mtws__client_log_tls(mtws_client *ws) {
    char text[MTWS__LOG_MAX];
    mtws__tls_describe(ws->tls_layer, text, sizeof text);
    bool insecure = ws->options.insecure_skip_verify;
    mtws__log(ws, insecure ? MTWS_LOG_WARN : MTWS_LOG_DEBUG, insecure ? "tls_insecure" : "tls_open",
              "%s: %s%s", ws->attempt_host, text,
              !insecure                         ? ""
              : mtws__tls_pinned(ws->tls_layer) ? "; options.insecure_skip_verify: pins alone were "
                                                  "checked"
                                                : "; options.insecure_skip_verify lets anybody on "
                                                  "the way read and write");
}

MTWS_PRIVATE void mtws__client_opening(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    if (!c->transport_open && ws->proxy.text[0] != 0) {
        ws->answer_size = 0; /* its room takes the proxy's */
        ws->subprotocol = "";
    }
    c->transport_open = true;
    ws->net.now_us = ws->now_us;
    ws->net.random = &ws->random;
    ws->in_hook = true;
    int result =
        ws->transport.open(ws->transport.ctx, ws->attempt_host, ws->attempt_port, ws->attempt_tls);
    ws->in_hook = false;
    if (ws->own_net && mtws__net_is_stale(&ws->net)) {
        mtws__log(ws, MTWS_LOG_WARN, "dns_stale",
                  "no name server can say where %s is: the last addresses known are tried, though "
                  "their time is over",
                  ws->attempt_host);
    }
    if (result == MTWS_IO_AGAIN) return;
    if (result != 0) {
        mtws_result failed = result == MTWS_IO_EOF || result == MTWS_IO_ERROR || result > 0
                                 ? MTWS_ERR_CONNECT
                                 : (mtws_result)result;
        mtws__client_fail_attempt(ws, failed);
        return;
    }
    if (c->secure) mtws__client_log_tls(ws);
    mtws__log(ws, MTWS_LOG_DEBUG, "transport_open",
              "connected to %s, port %u: asking for the upgrade", ws->attempt_host,
              (unsigned)ws->attempt_port);
    c->phase = MTWS__PHASE_UPGRADING;
    c->readable = true;
    ws->answer_size = 0;
    ws->subprotocol = "";
    mtws__http_start(&c->http, ws->answer, sizeof ws->answer);
}

MTWS_PRIVATE void mtws__client_write_request(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    c->blocked = false;
    for (int i = 0; i < MTWS__WRITES_PER_STEP && c->request_at < c->request_size; i++) {
        if (c->output_ended || c->blocked) break;
        ws->in_hook = true;
        ptrdiff_t put = ws->transport.write(ws->transport.ctx, ws->request + c->request_at,
                                            c->request_size - c->request_at);
        ws->in_hook = false;
        if (put > 0) {
            c->request_at += (size_t)put;
            ws->stats.bytes_sent += (uint64_t)put;
        } else if (put == MTWS_IO_AGAIN || put == 0) {
            c->blocked = true;
        } else {
            mtws__client_end_output(ws, put);
        }
    }
    /* What is left of records leaves too; errors are met by reading. */
    if (c->secure) mtws__tls_push(ws->tls_layer);
}

/* The URL of the request that was answered, whose target is a part of it. */
MTWS_PRIVATE void mtws__client_asked_url(const mtws_client *ws, mtws__url *url) {
    mtws__span target;
    memset(url, 0, sizeof *url);
    url->tls = ws->attempt_tls;
    url->host = mtws__span_of(ws->attempt_host);
    url->literal6 = strchr(ws->attempt_host, ':') != NULL;
    url->port = ws->attempt_port;
    target.data = (const uint8_t *)ws->request + 4; /* behind "GET " */
    target.size = strcspn(ws->request + 4, " ");
    url->path = mtws__url_cut(&target, "?");
    if (target.size == 0) return;
    url->query.data = target.data + 1;
    url->query.size = target.size - 1;
}

/* Where a redirect leads. NULL: *url says it, lying in what the writer wrote; else why it is not
 * followed. */
MTWS_PRIVATE const char *mtws__client_read_redirect(mtws_client *ws, mtws__writer *w,
                                                    mtws__url *url) {
    const mtws__http *h = &ws->connection.http;
    bool twice = false;
    mtws__url base;
    const char *location = mtws__http_only(h, "Location", &twice);
    if (location == NULL || twice) return "a redirect without a Location, or with two";
    if (ws->options.max_redirects == MTWS_OFF) {
        return "a redirect: give the URL it leads to, or set options.max_redirects";
    }
    if (ws->redirects >= ws->options.max_redirects) {
        return "one redirect more than options.max_redirects allows";
    }
    mtws__client_asked_url(ws, &base);
    bool ok = mtws__url_resolve(w, &base, mtws__span_of(location));
    mtws__span text;
    text.data = (const uint8_t *)w->data;
    text.size = w->size;
    if (!ok || !mtws__url_parse(url, text)) {
        return "a redirect to a URL that is invalid or not http, https, ws or wss";
    }
    if (url->userinfo.data != NULL) return "a redirect with userinfo in its Location";
    if (ws->attempt_tls && !url->tls) return "a redirect from wss:// to ws://";
    if (url->tls && mtws__client_need_tls(ws) != MTWS_OK) {
        return "a redirect to wss://, and there is no TLS, or nobody to trust";
    }
    return NULL;
}

/* Follows a redirect, within the same attempt. NULL: it is under way, or the attempt is over; else
 * why not. */
MTWS_PRIVATE const char *mtws__client_redirect(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    char where[MTWS__LOG_MAX];
    mtws__writer w;
    mtws__url url;
    /* The receive buffer is free: what came behind the head is thrown away. */
    mtws__writer_open(&w, (char *)ws->message.data, MTWS__READ_AHEAD);
    const char *why = mtws__client_read_redirect(ws, &w, &url);
    if (why != NULL) return why;
    mtws__writer_put(&w, "", 1);
    const char *host_field = w.data + w.size;
    mtws__url_put_host(&w, &url, url.port != (url.tls ? 443 : 80));
    mtws__writer_put(&w, "", 1);
    const char *target = w.data + w.size;
    mtws__url_put_target(&w, &url);
    /* In place of the URL's own host and target, which made room for themselves. */
    size_t room = sizeof ws->texts - ws->texts_size + (ws->userinfo_at - ws->host_field_at);
    if (w.full || (size_t)(w.data + w.size - host_field) >= room) {
        return "a redirect to a URL that is longer than MTWS_REQUEST_MAX allows";
    }

    uint64_t deadline_us = c->deadline_us;
    ws->in_hook = true;
    ws->transport.close(ws->transport.ctx);
    ws->in_hook = false;
    mtws__client_reset_connection(ws);
    c->phase = MTWS__PHASE_OPENING;
    c->deadline_us = deadline_us;
    ws->redirects++;
    char host[MTWS__HOST_MAX + 1];
    for (size_t i = 0; i < url.host.size; i++) host[i] = mtws__lower((char)url.host.data[i]);
    host[url.host.size] = 0;
    /* What the program may have set meanwhile is for the origin of its URL alone. */
    bool same = strcmp(host, ws->host) == 0 && url.port == ws->port && url.tls == ws->tls;
    if (!same) ws->foreign = true;
    mtws__client_aim(ws, host, url.port, url.tls);
    if (!mtws__client_secure(ws)) {
        mtws__client_no_entropy(ws);
        return NULL;
    }
    mtws__client_make_request(ws, host_field, target);
    mtws__client_where(ws, where, sizeof where);
    mtws__log(ws, MTWS_LOG_INFO, "redirect", "redirect %d: connecting to %s", ws->redirects, where);
    return NULL;
}

/* An answer that is not 101. */
MTWS_PRIVATE void mtws__client_refused(mtws_client *ws) {
    const mtws__http *h = &ws->connection.http;
    uint16_t status = h->status;
    uint64_t retry_after_ms = 0;
    if (status == 429 || status == 503) {
        retry_after_ms = mtws__http_retry_after_ms(h, mtws__client_unix_ms(ws));
    }
    const char *why = NULL;
    if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
        why = mtws__client_redirect(ws);
        if (why == NULL) return;
    }
    mtws__client_set_failure(ws, MTWS_ERR_HTTP_STATUS,
                             "the server answered the upgrade with %u%s%s", (unsigned)status,
                             why == NULL ? "" : ": ", why == NULL ? "" : why);
    ws->failure.http_status = status;
    ws->failure.retry_after_ms = retry_after_ms;
    bool mended = status == 408 || status == 425 || status == 429 || status >= 500;
    bool never = status == 401 || status == 403 || status == 410;
    ws->failure.final = never || (!mended && !ws->ever_opened);
    ws->failure.stubborn = !mended;
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

/* Something that no RFC 6455 server says; perhaps a bad deploy. */
MTWS_PRIVATE void mtws__client_bad_answer(mtws_client *ws, mtws_result result, const char *text) {
    mtws__client_set_failure(ws, result, "%s", text);
    ws->failure.http_status = ws->connection.http.status;
    ws->failure.final = !ws->ever_opened;
    ws->failure.stubborn = true;
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

/* The answer is whole and says yes. */
MTWS_PRIVATE void mtws__client_opened(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    size_t at = 0;
    const char *chosen = mtws__http_next(&c->http, &at, "Sec-WebSocket-Protocol");
    if (chosen != NULL) ws->subprotocol = chosen;
    uint8_t nonce[8];
    mtws__random_fill(&ws->random, nonce, sizeof nonce);
    bool off = ws->options.heartbeat_interval_ms == MTWS_OFF;
    bool json = ws->options.heartbeat == MTWS_HEARTBEAT_JSON;
    uint64_t interval_us = off ? 0 : (uint64_t)ws->options.heartbeat_interval_ms * 1000;
    uint64_t timeout_us = (uint64_t)ws->options.heartbeat_timeout_ms * 1000;
    mtws__heartbeat_start(&c->heartbeat, json ? 0 : interval_us, timeout_us, nonce, ws->now_us);
    /* A heartbeat in JSON may be a Ping, which must not be taken for the other's. */
    nonce[0] ^= 0x80;
    mtws__heartbeat_start(&c->beat, json ? interval_us : 0, timeout_us, nonce, ws->now_us);
    c->phase = MTWS__PHASE_OPEN;
    c->gaps = 0;
    c->deadline_us = UINT64_MAX;
    c->opened_us = c->flushed_us = ws->now_us;
    c->unparsed = true;
    for (int i = 0; i < MTWS__SOURCES; i++) mtws__queue_begin(&ws->queues[i]);
    c->asked_cursor = ws->queues[MTWS__MAIN].cursor;
    c->asked_next = ws->queues[MTWS__MAIN].next;
    ws->ever_opened = true;
    ws->unopened = 0;
    ws->stats.connects++;
    ws->pending = MTWS__CAUSE_OPENED;
}

/* Feeds what has come of the answer to the parser. */
MTWS_PRIVATE void mtws__client_parse_answer(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__message *m = &ws->message;
    while (m->parse < m->end) {
        size_t used = 0;
        int result = mtws__http_feed(&c->http, m->data + m->parse, m->end - m->parse, &used);
        m->parse += used;
        if (result == MTWS__HTTP_MORE) return;
        if (result == MTWS__HTTP_TOO_BIG) {
            mtws__client_bad_answer(ws, MTWS_ERR_TOO_BIG,
                                    "the answer to the upgrade is larger than MTWS_ANSWER_MAX, or "
                                    "has over 128 fields");
            return;
        }
        if (result == MTWS__HTTP_BAD || mtws__http_length_conflict(&c->http)) {
            mtws__client_bad_answer(ws, MTWS_ERR_HANDSHAKE,
                                    "the answer to the upgrade is not HTTP/1.1");
            return;
        }
        ws->answer_size = c->http.fields_size;
        if (c->http.status == 101) {
            const char *wrong = mtws__handshake_check(&c->http, c->key, ws->texts);
            if (wrong != NULL) mtws__client_bad_answer(ws, MTWS_ERR_HANDSHAKE, wrong);
            else mtws__client_opened(ws);
            return;
        }
        if (c->http.status >= 200) {
            mtws__client_refused(ws);
            return;
        }
        if (++c->informational > MTWS__INFORMATIONAL_MAX) {
            mtws__client_bad_answer(ws, MTWS_ERR_HANDSHAKE,
                                    "the server sent 1xx answers without end");
            return;
        }
        ws->answer_size = 0;
        mtws__http_start(&c->http, ws->answer, sizeof ws->answer);
    }
}

MTWS_PRIVATE void mtws__client_upgrading(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__client_write_request(ws);
    if (c->readable || !ws->own_net) {
        mtws__client_read(ws, SIZE_MAX);
        mtws__client_parse_answer(ws);
    }
    if (c->phase != MTWS__PHASE_UPGRADING) return;
    c->unparsed = c->full = false; /* the parser keeps what it needs of what is not whole */
    bool over = c->input_ended || (c->output_ended && c->drained);
    if (!over) return;
    mtws__client_blame_transport(ws, c->output_result);
    if (!c->doomed) {
        mtws__client_set_failure(ws, MTWS_ERR_RESET,
                                 "the connection broke before the upgrade was answered");
    }
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

/* ---- an open connection --------------------------------------------------------------------- */

/* Makes our Close frame: it leaves behind what is on its way, and nothing follows it. */
MTWS_PRIVATE void mtws__client_make_close(mtws_client *ws, uint16_t code, const char *reason) {
    uint8_t body[MTWS__CONTROL_MAX];
    size_t size = 0;
    if (code != 1005) {
        mtws__store_big(body, 2, code);
        size_t reason_size = mtws__min_size(strlen(reason), sizeof body - 2);
        memcpy(body + 2, reason, reason_size);
        size = 2 + reason_size;
    }
    mtws__client_late_pong(ws);
    mtws__client_control_frame(ws, MTWS__CLOSE, body, size);
    ws->connection.close_made = true;
    mtws__log(ws, MTWS_LOG_DEBUG, "close_sent", "closing with %u", (unsigned)code);
}

/* No byte of ours follows. */
MTWS_PRIVATE void mtws__client_half_close(mtws_client *ws) {
    if (ws->connection.secure) mtws__tls_finish(ws->tls_layer);
    else if (ws->own_net) mtws__os_shutdown(ws->net.fd, false);
}

/* The server broke the protocol: what is written stays, a Close says why, then we end it. */
MTWS_PRIVATE void mtws__client_violation(mtws_client *ws, mtws_result result, const char *text) {
    mtws__connection *c = &ws->connection;
    uint16_t code = result == MTWS_ERR_UTF8 ? 1007 : result == MTWS_ERR_TOO_BIG ? 1009 : 1002;
    mtws__client_flush(ws);
    if (!c->close_made) mtws__client_make_close(ws, code, "");
    mtws__client_set_failure(ws, result, "%s", text);
    ws->failure.close_code = code;
    c->doomed = true;
    c->phase = MTWS__PHASE_LINGERING;
    c->deadline_us = mtws__add_u64(ws->now_us, MTWS__LINGER_US);
    if (ws->stopping) c->deadline_us = mtws__min_u64(c->deadline_us, ws->stop_deadline_us);
    mtws__client_flush(ws);
    if (c->close_written) mtws__client_half_close(ws);
}

MTWS_PRIVATE void mtws__client_on_close(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__span reason;
    uint16_t code;
    mtws_result result = mtws__message_close(ws->message.payload, &code, &reason);
    if (result != MTWS_OK) {
        const char *wrong = "the server's Close frame breaks RFC 6455 section 5.5.1";
        if (result == MTWS_ERR_UTF8) wrong = "the server closed with a reason that is not UTF-8";
        mtws__client_violation(ws, result, wrong);
        return;
    }
    c->close_heard = true;
    c->peer_code = code;
    char text[MTWS__REASON_MAX];
    mtws__client_clean_text(text, sizeof text, reason);
    mtws__log(ws, MTWS_LOG_DEBUG, "close_received", "the server closed with %u: %s", (unsigned)code,
              text);
    if (!c->close_made) {
        mtws__client_flush(ws);
        mtws__client_make_close(ws, code, "");
        char said[MTWS__REASON_MAX];
        snprintf(said, sizeof said, "the server closed with %u", (unsigned)code);
        mtws__client_set_failure(ws, MTWS_ERR_CLOSED, "%s", text[0] == 0 ? said : text);
        ws->failure.close_code = code;
        ws->failure.final = code == 1010;
        ws->failure.stubborn = code == 1002 || code == 1003 || (code >= 1007 && code <= 1009);
        ws->failure.full = code == 1012 || code == 1013;
        c->doomed = true;
        c->deadline_us =
            ws->stopping ? ws->stop_deadline_us : mtws__client_close_us(ws, ws->now_us);
        c->phase = MTWS__PHASE_CLOSING;
        if (!ws->stopping) c->gaps = 0;
    }
    mtws__client_flush(ws);
}

MTWS_PRIVATE void mtws__client_on_ping(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    if (c->close_made) return;
    mtws__span payload = ws->message.payload;
    size_t limit = sizeof c->control - MTWS__CONTROL_RESERVE;
    if (c->control_size + payload.size + 6 > limit && c->pong_flushes < MTWS__PONG_FLUSHES) {
        c->pong_flushes++;
        mtws__client_flush(ws);
    }
    if (c->pong_size < 0 && c->control_size + payload.size + 6 <= limit) {
        mtws__client_control_frame(ws, MTWS__PONG, payload.data, payload.size);
        return;
    }
    /* RFC 6455 section 5.5.3: the latest Ping alone may be answered. */
    if (payload.size > 0) memcpy(c->pong, payload.data, payload.size);
    c->pong_size = (int)payload.size;
}

MTWS_PRIVATE void mtws__client_round_trip(mtws_client *ws, const mtws__ping *ping) {
    /* An answer is a sign of life, but the end is not put off by it. */
    if (!ws->stopping) ws->connection.gaps = 0;
    uint64_t now_us = mtws__client_fresh_us(ws);
    uint64_t rtt = mtws__min_u64(now_us - mtws__min_u64(ping->sent_us, now_us), UINT32_MAX);
    ws->stats.rtt_us = rtt == 0 ? 1 : (uint32_t)rtt;
    if (ws->stats.rtt_min_us == 0 || ws->stats.rtt_us < ws->stats.rtt_min_us) {
        ws->stats.rtt_min_us = ws->stats.rtt_us;
    }
}

/* Heartbeats in JSON, the server's and the answers to ours, are not for the program. True: this
 * message was one. */
MTWS_PRIVATE bool mtws__client_on_beat(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    const mtws__message *m = &ws->message;
    mtws__span type, stamp;
    if (ws->options.heartbeat != MTWS_HEARTBEAT_JSON || m->kind != MTWS_TEXT || !m->first ||
        !m->last || m->payload.size > MTWS__BEAT_MAX ||
        !mtws__json_member(m->payload, "type", &type))
        return false;
    if (mtws__json_string_is(type, "heartbeat_response")) {
        mtws__ping ping;
        uint64_t mark = 0;
        if (!mtws__json_member(m->payload, "originalTimestamp", &stamp) || stamp.size > 19) {
            return true;
        }
        for (size_t i = 0; i < stamp.size; i++) {
            if (!mtws__is_digit((char)stamp.data[i])) return true;
            mark = mark * 10 + (uint64_t)(stamp.data[i] - '0');
        }
        if (mtws__heartbeat_echo(&c->beat, mark, &ping)) mtws__client_round_trip(ws, &ping);
        return true;
    }
    if (!mtws__json_string_is(type, "heartbeat") ||
        !mtws__json_member(m->payload, "timestamp", &stamp) || stamp.size > MTWS__STAMP_MAX ||
        stamp.data[0] == '"')
        return false;
    memcpy(c->beat_stamp, stamp.data, stamp.size); /* of several the latest is answered */
    c->beat_stamp[stamp.size] = 0;
    return true;
}

MTWS_PRIVATE void mtws__client_on_pong(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__heartbeat *other = &c->beat;
    mtws__ping ping;
    if (!mtws__heartbeat_pong(&c->heartbeat, ws->message.payload, &ping)) {
        if (!mtws__heartbeat_pong(&c->beat, ws->message.payload, &ping)) return;
        other = &c->heartbeat;
    }
    mtws__heartbeat_outrun(other, ping.sequence);
    mtws__client_round_trip(ws, &ping);
    if (ws->options.confirm != MTWS_CONFIRM_PONG) return;
    uint64_t live = ws->queues[MTWS__MAIN].live;
    for (int i = 0; i < MTWS__MARKS; i++) mtws__queue_confirm(&ws->queues[i], ping.marks[i]);
    if (ws->window > 0 && ws->queues[MTWS__MAIN].live > live) {
        ws->window = ws->window < UINT32_MAX / 2 ? ws->window * 2 : 0;
        if (ws->window > ws->queues[MTWS__MAIN].capacity) ws->window = 0;
    }
}

/* Nothing is taken after a Close. */
MTWS_PRIVATE void mtws__client_discard(mtws_client *ws) {
    mtws__message_discard(&ws->message);
    ws->connection.unparsed = ws->connection.full = false;
}

/* Whether mtws_disconnect's time is over for messages, too. A program that was a little late still
 * gets what came in time, but a server that never stops sending does not put off the end. */
MTWS_PRIVATE bool mtws__client_is_overtime(const mtws_client *ws) {
    uint64_t grace_us = ws->paused ? 0 : MTWS__GAP_US;
    return ws->stopping && ws->now_us >= mtws__add_u64(ws->connection.deadline_us, grace_us);
}

/* Parses what has arrived up to the next message, which becomes the event. True: it did. */
MTWS_PRIVATE bool mtws__client_parse(mtws_client *ws, mtws_event *event) {
    mtws__connection *c = &ws->connection;
    mtws__message *m = &ws->message;
    int budget = MTWS__FRAMES_PER_STEP;
    c->held = false;
    while (c->phase == MTWS__PHASE_OPEN || (c->phase == MTWS__PHASE_CLOSING && !c->close_heard)) {
        switch (mtws__message_next(m, &budget)) {
        case MTWS__INPUT_MORE: c->unparsed = c->full = false; return false;
        case MTWS__INPUT_BUSY:
            if (!mtws__client_is_overtime(ws)) return false;
            budget = MTWS__FRAMES_PER_STEP; /* the last step: a Close that is there is heard */
            break;
        case MTWS__INPUT_PING: mtws__client_on_ping(ws); break;
        case MTWS__INPUT_PONG: mtws__client_on_pong(ws); break;
        case MTWS__INPUT_CLOSE: mtws__client_on_close(ws); break;
        case MTWS__INPUT_BAD: mtws__client_violation(ws, m->result, m->text); break;
        case MTWS__INPUT_MESSAGE:
            if (mtws__client_on_beat(ws)) {
                mtws__message_release(m);
                break;
            }
            if (mtws__client_is_overtime(ws)) {
                /* Nobody takes it any more; what came behind it still counts. */
                mtws__message_release(m);
                break;
            }
            if (ws->paused) {
                mtws__message_keep(m);
                c->held = true;
                return false;
            }
            event->type = MTWS_EVENT_MESSAGE;
            event->kind = m->kind;
            event->data = m->payload.data;
            event->size = m->payload.size;
            event->first = m->first;
            event->last = m->last;
            ws->stats.messages_received += m->last;
            c->handed_size += m->payload.size;
            return true;
        }
    }
    mtws__client_discard(ws);
    return false;
}

/* The time at which a Ping has to ask about what was sent; UINT64_MAX: nothing to ask about. */
MTWS_PRIVATE uint64_t mtws__client_confirm_us(const mtws_client *ws) {
    const mtws__connection *c = &ws->connection;
    const mtws__queue *q = &ws->queues[MTWS__MAIN];
    if (ws->options.confirm != MTWS_CONFIRM_PONG || c->unasked_us == UINT64_MAX || c->close_made) {
        return UINT64_MAX;
    }
    if (ws->options.confirm_delay_ms == MTWS_OFF) {
        /* One Ping all the same before the end, behind the last message. */
        bool last = c->current == MTWS__NOWHERE && mtws__client_turn(ws) == MTWS__NOWHERE;
        return ws->stopping && last ? 0 : UINT64_MAX;
    }
    bool much = q->cursor - c->asked_cursor >= q->ring.capacity / 4 ||
                q->next - c->asked_next >= q->capacity / 4;
    bool waits = ws->window > 0 && mtws__client_turn(ws) == MTWS__NOWHERE;
    if (much || waits || ws->stopping) return 0;
    return mtws__add_u64(c->unasked_us, (uint64_t)ws->options.confirm_delay_ms * 1000);
}

/* Whether something that is wholly written waits for a Pong. */
MTWS_PRIVATE bool mtws__client_unconfirmed(const mtws_client *ws) {
    bool any = false;
    for (int i = 0; i < MTWS__SOURCES; i++) any |= ws->queues[i].live < ws->queues[i].next;
    return any && ws->options.confirm == MTWS_CONFIRM_PONG;
}

/* When a Ping that has no answer is followed by another, where no heartbeat judges the peer by it;
 * UINT64_MAX: no need. A peer that never answers is asked more and more rarely. */
MTWS_PRIVATE uint64_t mtws__client_again_us(const mtws_client *ws) {
    const mtws__connection *c = &ws->connection;
    MTWS_ASSERT(c->unparsed || !c->full);
    /* What is not parsed may hold the Pong. */
    if (c->heartbeat.interval_us != 0 || c->close_made || c->unparsed ||
        !mtws__client_unconfirmed(ws) ||
        (ws->options.confirm_delay_ms == MTWS_OFF && !c->heartbeat.probe))
        return UINT64_MAX;
    return mtws__heartbeat_lost_us(&c->heartbeat);
}

/* One at a time waits to be written, or Pings would take all that a very slow link has. A Close
 * always fits behind. */
MTWS_PRIVATE bool mtws__client_ping_fits(const mtws_client *ws, const mtws__heartbeat *h) {
    const mtws__connection *c = &ws->connection;
    size_t close_size = MTWS__CONTROL_MAX + 6;
    return h->unwritten == 0 &&
           c->control_size + MTWS__PING_SIZE + 6 <= sizeof c->control - close_size;
}

/* Makes a Ping of this heartbeat's, which speaks for all that is wholly written. */
MTWS_PRIVATE void mtws__client_make_ping(mtws_client *ws, mtws__heartbeat *h) {
    mtws__connection *c = &ws->connection;
    if (!mtws__client_ping_fits(ws, h)) {
        mtws__heartbeat_want(h, ws->now_us);
        return;
    }
    uint64_t marks[MTWS__MARKS];
    uint8_t payload[MTWS__PING_SIZE];
    for (int i = 0; i < MTWS__MARKS; i++) marks[i] = ws->queues[i].next;
    h->sequence = mtws__max_u64(c->heartbeat.sequence, c->beat.sequence); /* both in one order */
    mtws__heartbeat_ping(h, marks, ws->now_us, payload);
    mtws__client_control_frame(ws, MTWS__PING, payload, sizeof payload);
    c->ping_left = c->control_size;
}

/* Makes the Ping that is due, for the heartbeat or to ask about messages: it is the same. */
MTWS_PRIVATE void mtws__client_ping(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__heartbeat *h = &c->heartbeat;
    bool due = mtws__heartbeat_due(h, ws->now_us);
    bool again = mtws__client_again_us(ws) <= ws->now_us && mtws__client_ping_fits(ws, h);
    bool ask = h->count < MTWS__PINGS_MAX && mtws__client_confirm_us(ws) <= ws->now_us;
    if ((!due && !ask && !again) || c->phase != MTWS__PHASE_OPEN) return;
    if (again) mtws__heartbeat_repeat(h);
    uint64_t sequence = h->sequence;
    mtws__client_make_ping(ws, h);
    if (h->sequence == sequence) return;
    c->asked_cursor = ws->queues[MTWS__MAIN].cursor;
    c->asked_next = ws->queues[MTWS__MAIN].next;
    c->unasked_us = UINT64_MAX;
}

/* Puts a heartbeat in JSON, or the answer to the server's, where it leaves at the end of a message,
 * whatever the queue holds. There is room for one at a time. */
MTWS_PRIVATE void mtws__client_make_beat(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    char text[sizeof c->beat_frame - MTWS__FRAME_HEADER_MAX];
    mtws__writer w;
    uint64_t unix_ms = mtws__client_unix_ms(ws);
    mtws__writer_open(&w, text, sizeof text);
    c->beat_sending = 0;
    if (c->beat_stamp[0] != 0) {
        mtws__writer_text(&w, "{\"type\":\"heartbeat_response\",\"timestamp\":");
        mtws__writer_number(&w, unix_ms);
        mtws__writer_text(&w, ",\"originalTimestamp\":");
        mtws__writer_text(&w, c->beat_stamp);
        c->beat_stamp[0] = 0;
    } else {
        /* Two heartbeats need two timestamps, whatever the wall clock does. */
        uint64_t stamp = mtws__min_u64(unix_ms, (uint64_t)1 << MTWS__STAMP_BITS);
        ws->last_stamp = c->beat_sending = mtws__max_u64(stamp, ws->last_stamp + 1);
        c->beat_wanted = false;
        mtws__writer_text(&w, "{\"type\":\"heartbeat\",\"timestamp\":");
        mtws__writer_number(&w, c->beat_sending);
    }
    mtws__writer_text(&w, "}");
    MTWS_ASSERT(!w.full);
    uint8_t key[4];
    mtws__random_fill(&ws->random, key, 4);
    size_t header = mtws__frame_encode(c->beat_frame, MTWS_TEXT, true, w.size, key);
    mtws__frame_mask(c->beat_frame + header, (const uint8_t *)text, w.size, key, 0);
    c->beat_size = header + w.size;
}

/* Heartbeats in JSON. No text can go into the midst of a message of ours, which may be long; so
 * while one waits for its end, a Ping asks whether the peer is there. */
MTWS_PRIVATE void mtws__client_beat(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__heartbeat *h = &c->beat;
    if (c->phase != MTWS__PHASE_OPEN) return;
    if (mtws__heartbeat_due(h, ws->now_us)) {
        mtws__heartbeat_asked(h, ws->now_us);
        c->beat_wanted = true;
        /* Where only heartbeats ask what has arrived, a Ping goes along. */
        bool only = ws->options.confirm_delay_ms == MTWS_OFF;
        if (only && mtws__client_unconfirmed(ws)) c->heartbeat.probe = true;
    }
    if (c->beat_size == 0 && (c->beat_wanted || c->beat_stamp[0] != 0)) mtws__client_make_beat(ws);
    bool within = c->current != MTWS__NOWHERE || (c->locked >= 0 && c->locked < (int)MTWS__SOURCES);
    if (within && h->wanted_us != UINT64_MAX) {
        mtws__client_make_ping(ws, h);
    }
}

/* Whether everything that mtws_disconnect waits for has happened. */
MTWS_PRIVATE bool mtws__client_is_drained(const mtws_client *ws) {
    bool held = mtws__client_is_held(ws);
    for (int i = 0; i < MTWS__SOURCES; i++) {
        const mtws__queue *q = &ws->queues[i];
        bool leaves = !held || i == MTWS__FIRST_QUEUE;
        if (leaves && q->live < q->end) return false;
    }
    return true;
}

/* Ends the connection as what is known says. */
MTWS_PRIVATE void mtws__client_finish(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    if (ws->stopping) {
        if (c->close_heard) {
            mtws__client_set_failure(ws, MTWS_OK, "%s", "");
            ws->failure.close_code = c->peer_code;
        }
        mtws__client_end(ws, MTWS__CAUSE_STOP);
        return;
    }
    mtws__client_end(ws, MTWS__CAUSE_FAILED);
}

/* No byte will come any more, and what came is parsed. */
MTWS_PRIVATE void mtws__client_on_end(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__client_blame_transport(ws, c->output_result);
    if (!c->doomed && !c->close_heard) {
        const char *why = "end of stream";
        if (ws->own_net && ws->net.error != 0) why = mtws__os_error_text(ws->net.error);
        else if (c->secure && mtws__tls_text(ws->tls_layer)[0] != 0)
            why = mtws__tls_text(ws->tls_layer);
        mtws__client_set_failure(ws, MTWS_ERR_RESET,
                                 "the connection broke without a Close frame: %s", why);
    }
    if (ws->failure.close_code == 0) ws->failure.close_code = 1006;
    mtws__client_finish(ws);
}

/* When mtws_disconnect waits no longer for what is queued: the server needs time to close. */
MTWS_PRIVATE uint64_t mtws__client_drained_us(const mtws_client *ws) {
    uint64_t reserve_us = (uint64_t)ws->options.close_timeout_ms * 1000 / 5;
    return ws->stop_deadline_us - mtws__min_u64(reserve_us, ws->stop_deadline_us);
}

/* mtws_disconnect: what is queued leaves and is confirmed, then Close. */
MTWS_PRIVATE void mtws__client_drain(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    if (!mtws__client_is_drained(ws) && ws->now_us < mtws__client_drained_us(ws)) return;
    mtws__client_make_close(ws, ws->stop_code, ws->stop_reason);
    c->phase = MTWS__PHASE_CLOSING;
    c->deadline_us = ws->stop_deadline_us;
    mtws__client_flush(ws);
}

/* Deadlines, after everything that has arrived was looked at. */
MTWS_PRIVATE void mtws__client_judge(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    mtws__heartbeat *h = mtws__client_heart(ws);
    if (ws->now_us >= c->deadline_us) {
        if (c->phase <= MTWS__PHASE_UPGRADING) {
            char where[MTWS__LOG_MAX];
            const char *what = "connection";
            if (c->phase == MTWS__PHASE_UPGRADING) what = "upgrade";
            else if (ws->own_net) what = mtws__net_awaits(&ws->net);
            mtws__client_where(ws, where, sizeof where);
            mtws__client_set_failure(ws, MTWS_ERR_TIMEOUT,
                                     "%s: no %s within options.connect_timeout_ms", where, what);
            mtws__client_end(ws, MTWS__CAUSE_FAILED);
            return;
        }
        if (c->unparsed) return; /* the answer may lie there: parsing ends with overtime */
        if (!c->doomed && !c->close_heard) {
            mtws__client_set_failure(ws, MTWS_ERR_TIMEOUT,
                                     "the server did not answer our Close within "
                                     "options.close_timeout_ms");
            ws->failure.close_code = 1006;
        }
        mtws__client_finish(ws);
        return;
    }
    if (ws->now_us >= h->look_us) {
        mtws__heartbeat_look(h, mtws__client_unsent(ws), ws->now_us);
    }
    if (c->phase != MTWS__PHASE_OPEN || c->unparsed || !c->drained) return;
    if (ws->now_us < mtws__heartbeat_deadline_us(h)) return;
    mtws__client_set_failure(ws, MTWS_ERR_HEARTBEAT,
                             "no answer to a heartbeat within options.heartbeat_timeout_ms");
    ws->failure.close_code = 1006;
    mtws__client_finish(ws);
}

/* Time passed in which nobody looked: the machine slept, the process was stopped, the program was
 * busy. What came meanwhile is read before anything is judged, deadlines begin anew, and the peer
 * is asked. A program that is always late gains so much a few times only. */
MTWS_PRIVATE void mtws__client_gap(mtws_client *ws) {
    mtws__connection *c = &ws->connection;
    if (c->phase == MTWS__PHASE_NONE || c->gaps >= MTWS__GAPS_MAX) return;
    c->gaps++;
    c->readable = c->phase >= MTWS__PHASE_UPGRADING;
    if (c->phase <= MTWS__PHASE_UPGRADING) {
        c->deadline_us = mtws__add_u64(ws->now_us, (uint64_t)ws->options.connect_timeout_ms * 1000);
    } else if (c->phase == MTWS__PHASE_CLOSING) {
        c->deadline_us = mtws__client_close_us(ws, ws->now_us);
    } else if (c->phase == MTWS__PHASE_OPEN) {
        mtws__heartbeat_restart(mtws__client_heart(ws), ws->now_us);
    }
    if (ws->stopping) ws->stop_deadline_us = mtws__client_close_us(ws, ws->now_us);
    mtws__log(ws, MTWS_LOG_DEBUG, "gap",
              "mtws_poll was not called, or the machine slept: deadlines begin anew");
}

/* The program takes messages again. Behind the one that waited nothing was read, so an answer that
 * is overdue may lie there. */
MTWS_PRIVATE void mtws__client_resume(mtws_client *ws) {
    mtws__heartbeat *h = mtws__client_heart(ws);
    if (!ws->connection.held) return;
    ws->connection.held = false;
    uint64_t now_us = mtws__client_fresh_us(ws);
    if (now_us >= mtws__heartbeat_deadline_us(h)) mtws__heartbeat_restart(h, now_us);
}

/* One round of an open connection's work. True: *event was filled. */
MTWS_PRIVATE bool mtws__client_run(mtws_client *ws, mtws_event *event) {
    mtws__connection *c = &ws->connection;
    if (c->phase == MTWS__PHASE_LINGERING) {
        if (!c->close_written) {
            mtws__client_flush(ws);
            if (c->close_written) mtws__client_half_close(ws);
        }
        mtws__client_read(ws, SIZE_MAX);
        mtws__client_discard(ws);
        if (c->input_ended || c->output_ended) mtws__client_finish(ws);
        else mtws__client_judge(ws);
        return false;
    }
    /* Messages that are there already cost no system call, but replies do not wait for all. */
    bool due = c->handed_size >= MTWS__FLUSH_SIZE || ws->now_us - c->flushed_us >= MTWS__FLUSH_US;
    if (c->unparsed && !due && mtws__client_parse(ws, event)) return true;
    if (c->phase == MTWS__PHASE_OPEN && ws->stopping) mtws__client_drain(ws);
    mtws__client_flush(ws);
    mtws__client_ping(ws);
    mtws__client_beat(ws);
    if ((c->control_size > 0 || c->beat_size > 0) && !c->blocked) mtws__client_flush(ws);
    if (c->unparsed && mtws__client_parse(ws, event)) return true;
    bool judging = ws->now_us >= mtws__heartbeat_deadline_us(mtws__client_heart(ws));
    size_t left = ws->message.capacity; /* bytes for one mtws_poll: see WORK */
    bool reads = c->readable || judging || !ws->own_net;
    while (reads) {
        size_t got = mtws__client_read(ws, left);
        left -= got;
        reads = judging && ws->own_net && got > 0;
        /* Of TCP a short read counts as the last one, but not where a life depends on it. */
        if (reads) {
            c->drained = false;
            c->readable = true;
        }
        if (c->unparsed && mtws__client_parse(ws, event)) return true;
        if (left == 0 || c->unparsed || c->phase != MTWS__PHASE_OPEN) break;
    }
    bool over = c->input_ended || (c->output_ended && c->drained);
    if (over && !c->unparsed) mtws__client_on_end(ws);
    else mtws__client_judge(ws);
    return false;
}

/* ---- the states ----------------------------------------------------------------------------- */

/* The only place that changes the state: applies the table, logs, and fills the event. */
MTWS_PRIVATE void mtws__client_move(mtws_client *ws, mtws__cause cause, mtws_event *event) {
    int next = mtws__client_next_state(ws->state, cause);
    MTWS_ASSERT(next >= 0);
    event->type = MTWS_EVENT_STATE;
    event->previous = ws->state;
    ws->state = (mtws_state)next;
    event->attempt = ws->attempt;
    if (cause != MTWS__CAUSE_CONNECT && cause != MTWS__CAUSE_OPENED) {
        event->result = ws->failure.result;
        event->reason = ws->failure.text;
        event->close_code = ws->failure.close_code;
        event->http_status = ws->failure.http_status;
    }
    if (ws->state == MTWS_STATE_RECONNECTING) {
        event->retry_ms = mtws__ms_until(ws->retry_us, ws->now_us);
    }
    mtws_level level = ws->state == MTWS_STATE_FAILED  ? MTWS_LOG_ERROR
                       : ws->state == MTWS_STATE_ERROR ? MTWS_LOG_WARN
                                                       : MTWS_LOG_INFO;
    mtws__log(ws, level, "state", "%s -> %s%s%s", mtws__state_name(event->previous),
              mtws__state_name(ws->state), event->reason[0] != 0 ? ": " : "", event->reason);
}

MTWS_PRIVATE uint64_t mtws__client_delay_ms(mtws_client *ws) {
    const mtws_options *o = &ws->options;
    const mtws__failure *f = &ws->failure;
    uint64_t cap = mtws__backoff_cap_ms(o->initial_reconnect_delay_ms, o->max_reconnect_delay_ms,
                                        o->reconnect_backoff_factor, ws->round);
    if (ws->round < UINT32_MAX) ws->round++;
    if (f->stubborn) {
        cap = mtws__max_u64((uint64_t)o->max_reconnect_delay_ms, MTWS__DELAY_MIN_MS);
        mtws__log(ws, MTWS_LOG_ERROR, "stubborn",
                  "a retry will hardly mend this; the server or this client must change, and until "
                  "then attempts are made at options.max_reconnect_delay_ms");
    }
    if (!ws->seeded) return cap;
    return mtws__backoff_jitter_ms(cap, (uint64_t)o->max_reconnect_delay_ms, f->full || f->stubborn,
                                   mtws__min_u64(f->retry_after_ms, MTWS__RETRY_AFTER_MAX_MS),
                                   &ws->random);
}

/* Only mtws_set_network ends the wait where it alone says; the system is asked now and then. */
MTWS_PRIVATE void mtws__client_look_later(mtws_client *ws) {
    bool manual = ws->options.network == MTWS_NETWORK_MANUAL;
    uint64_t delay_ms = (uint64_t)ws->options.max_reconnect_delay_ms;
    uint64_t delay_us = mtws__max_u64(delay_ms, MTWS__DELAY_MIN_MS) * 1000;
    ws->retry_us = manual ? UINT64_MAX : mtws__add_u64(ws->now_us, delay_us);
}

MTWS_PRIVATE void mtws__client_go_offline(mtws_client *ws, mtws_event *event) {
    mtws__client_look_later(ws);
    mtws__client_move(ws, MTWS__CAUSE_OFFLINE, event);
}

/* An attempt or a connection failed, and its event was handed over: what follows? */
MTWS_PRIVATE void mtws__client_decide(mtws_client *ws, mtws_event *event) {
    int32_t most = ws->options.max_reconnect_attempts;
    bool offline = most != MTWS_OFF && !ws->failure.final && mtws__client_is_offline(ws);
    if (ws->in_vain && !offline && ws->unopened < INT32_MAX) ws->unopened++;
    ws->in_vain = false;
    bool used_up = most != MTWS_UNLIMITED && most != MTWS_OFF && ws->unopened >= most;
    if (most == MTWS_OFF && ws->failure.result == MTWS_ERR_CLOSED && !ws->failure.final) {
        mtws__client_move(ws, MTWS__CAUSE_STOP, event);
    } else if (most == MTWS_OFF || used_up || ws->failure.final) {
        if (used_up) {
            mtws__log(ws, MTWS_LOG_ERROR, "attempts_used_up",
                      "%d reconnecting attempts in a row did not open; mtws_retry_now tries again, "
                      "and options.max_reconnect_attempts says how many there are",
                      most);
        }
        mtws__client_move(ws, MTWS__CAUSE_GIVE_UP, event);
    } else if (offline) {
        mtws__client_go_offline(ws, event);
    } else {
        ws->retry_us = mtws__add_u64(ws->now_us, mtws__client_delay_ms(ws) * 1000);
        mtws__client_move(ws, MTWS__CAUSE_RETRY, event);
    }
}

/* The network has changed, or may have. True: *event was filled. */
MTWS_PRIVATE bool mtws__client_network(mtws_client *ws, mtws_event *event) {
    mtws__connection *c = &ws->connection;
    ws->network_changed = false;
    if (c->phase >= MTWS__PHASE_OPEN) {
        /* Nothing is closed for it: the peer is asked. */
        mtws__heartbeat *h = mtws__client_heart(ws);
        h->probe = h->interval_us != 0 && h->count == 0;
        return false;
    }
    /* Before the name is resolved a target on the loopback is not known as one. */
    bool manual = ws->options.network == MTWS_NETWORK_MANUAL;
    if (c->phase == MTWS__PHASE_OPENING && !c->transport_open && !manual) return false;
    if (!mtws__client_is_offline(ws)) return false;
    if (c->phase != MTWS__PHASE_NONE) {
        mtws__client_fail_attempt(ws, MTWS_ERR_OFFLINE);
        return false;
    }
    MTWS_ASSERT(ws->state == MTWS_STATE_RECONNECTING);
    mtws__client_set_failure(ws, MTWS_ERR_OFFLINE, "the network is down");
    mtws__client_go_offline(ws, event);
    return true;
}

/* waiting_for_network: a change, or the time, makes us look again. True: *event was filled. */
MTWS_PRIVATE bool mtws__client_waiting(mtws_client *ws, mtws_event *event) {
    bool look = ws->network_changed || ws->now_us >= ws->retry_us;
    if (!ws->retry_asked && !look) return false;
    ws->network_changed = false;
    if (!ws->retry_asked && mtws__client_is_offline(ws)) {
        mtws__client_look_later(ws);
        return false;
    }
    ws->retry_us = ws->now_us;
    ws->round = 0;
    mtws__client_set_failure(ws, MTWS_OK, "%s", ws->retry_asked ? "" : "the network is back");
    mtws__client_move(ws, MTWS__CAUSE_RETRY, event);
    return true;
}

/* Starts what mtws_connect and mtws_retry_now asked for. */
MTWS_PRIVATE void mtws__client_begin(mtws_client *ws, mtws_event *event) {
    mtws__cause cause = ws->connect_asked ? MTWS__CAUSE_CONNECT : MTWS__CAUSE_RETRY;
    if (ws->connect_asked) ws->ever_opened = false;
    ws->connect_asked = false;
    ws->attempt = 0;
    ws->round = 0;
    ws->unopened = 0;
    ws->retry_us = ws->now_us;
    if (cause == MTWS__CAUSE_CONNECT) {
        mtws__client_start_attempt(ws);
        ws->network_changed = ws->options.network == MTWS_NETWORK_MANUAL && ws->manual_offline;
    }
    mtws__client_move(ws, cause, event);
}

/* A part of a message that was begun needs no entry of its own. */
MTWS_PRIVATE bool mtws__client_fits(const mtws_client *ws, int source, size_t wire_size) {
    const mtws__queue *q = &ws->queues[source];
    bool begun = source == MTWS__PARTS && ws->part_id != 0;
    return begun ? wire_size <= mtws__ring_free(&q->ring) : mtws__queue_fits(q, wire_size);
}

/* Whether what was refused would be taken now. */
MTWS_PRIVATE bool mtws__client_is_writable(const mtws_client *ws) {
    const mtws__queue *q = &ws->queues[ws->refused_queue];
    return ws->refused_size > 0 && mtws__client_fits(ws, ws->refused_queue, ws->refused_size) &&
           !(ws->refused_begin && q->next < q->end);
}

MTWS_PRIVATE bool mtws__client_report(mtws_client *ws, mtws_event *event) {
    for (int i = 0; i < MTWS__SOURCES; i++) {
        mtws__range range;
        if (!mtws__queue_report(&ws->queues[i], &range)) continue;
        bool delivered = range.result == MTWS_OK;
        event->type = delivered ? MTWS_EVENT_DELIVERED : MTWS_EVENT_DROPPED;
        event->first_id = range.first_id;
        event->id = range.id;
        event->result = range.result;
        event->written = !delivered && range.left;
        if (!delivered) {
            uint64_t count = range.id - range.first_id + 1;
            ws->stats.dropped += count;
            mtws__log(ws, MTWS_LOG_WARN, "dropped",
                      "%llu messages with ids from %llu to %llu are dropped: %s",
                      (unsigned long long)count, (unsigned long long)range.first_id,
                      (unsigned long long)range.id, mtws__result_text(range.result));
        }
        return true;
    }
    if (mtws__client_is_writable(ws)) {
        ws->refused_size = 0;
        event->type = MTWS_EVENT_WRITABLE;
        return true;
    }
    return false;
}

/* Whether an event can be handed over without any work. */
MTWS_PRIVATE bool mtws__client_has_event(const mtws_client *ws) {
    if (ws->pending != MTWS__CAUSE_NONE || ws->state == MTWS_STATE_ERROR || ws->connect_asked ||
        ws->stop_now)
        return true;
    for (int i = 0; i < MTWS__SOURCES; i++) {
        if (ws->queues[i].unreported > 0 || ws->queues[i].carry.id != 0) return true;
    }
    return mtws__client_is_writable(ws);
}

/* mtws_disconnect was called, and there is nothing to close gracefully any more. */
MTWS_PRIVATE void mtws__client_stop(mtws_client *ws, mtws_event *event) {
    if (ws->connection.phase != MTWS__PHASE_NONE) {
        mtws__client_set_failure(ws, MTWS_OK, "%s", "");
        if (ws->connection.phase >= MTWS__PHASE_OPEN) ws->failure.close_code = 1006;
        mtws__client_end(ws, MTWS__CAUSE_STOP);
    } else if (ws->pending != MTWS__CAUSE_STOP) {
        mtws__client_set_failure(ws, MTWS_OK, "%s", "");
    }
    ws->pending = MTWS__CAUSE_NONE;
    ws->stop_now = ws->stopping = ws->retry_asked = false;
    mtws__client_move(ws, MTWS__CAUSE_STOP, event);
}

/* Whether the rest needs its turn although messages were settled: a program that polls once a
 * frame, and brings about an event each time, could keep it waiting for ever. Nor does the rest
 * keep those waiting: they go out by turns. */
MTWS_PRIVATE bool mtws__client_starves(const mtws_client *ws) {
    bool resting = mtws__client_is_resting(ws);
    bool ends = ws->pending == MTWS__CAUSE_STOP || ws->stop_now;
    if (ends || (resting && !ws->connect_asked && !ws->retry_asked)) return false;
    return ws->reported && ws->now_us - ws->worked_us >= MTWS__FLUSH_US;
}

/* One step of the whole client: 1: *event was filled; 0: nothing more to do now; MTWS_ERR_IDLE. */
MTWS_PRIVATE int mtws__client_step(mtws_client *ws, mtws_event *event) {
    mtws__connection *c = &ws->connection;
    if (ws->pending == MTWS__CAUSE_FAILED) {
        ws->pending = MTWS__CAUSE_NONE;
        ws->stats.failures++;
        mtws__client_move(ws, MTWS__CAUSE_FAILED, event);
        return 1;
    }
    if (!mtws__client_starves(ws) && mtws__client_report(ws, event)) {
        ws->reported = true;
        return 1;
    }
    ws->worked_us = ws->now_us;
    ws->reported = false;
    if (ws->pending == MTWS__CAUSE_STOP || ws->stop_now) {
        mtws__client_stop(ws, event);
        return 1;
    }
    if (ws->pending == MTWS__CAUSE_OPENED) {
        ws->pending = MTWS__CAUSE_NONE;
        mtws__client_move(ws, MTWS__CAUSE_OPENED, event);
        return 1;
    }
    if (mtws__client_is_resting(ws)) {
        if (ws->connect_asked || ws->retry_asked) {
            mtws__client_begin(ws, event);
            return 1;
        }
        mtws__queue_expire(&ws->queues[MTWS__MAIN], ws->now_us);
        return mtws__client_report(ws, event) ? 1 : (int)MTWS_ERR_IDLE;
    }
    if (ws->state == MTWS_STATE_ERROR) {
        mtws__client_decide(ws, event);
        return 1;
    }
    mtws__queue_expire(&ws->queues[MTWS__MAIN], ws->now_us);
    if (ws->state == MTWS_STATE_WAITING_FOR_NETWORK) return mtws__client_waiting(ws, event);
    if (ws->network_changed && mtws__client_network(ws, event)) return 1;
    if (ws->pending != MTWS__CAUSE_NONE) return 0;
    if (c->phase == MTWS__PHASE_NONE) {
        if (!ws->retry_asked && ws->now_us < ws->retry_us) return 0;
        if (!ws->retry_asked && mtws__client_is_offline(ws)) {
            ws->network_changed = true;
            return mtws__client_network(ws, event) ? 1 : 0;
        }
        mtws__client_start_attempt(ws);
    }
    if (c->phase == MTWS__PHASE_OPENING) mtws__client_opening(ws);
    if (c->phase == MTWS__PHASE_UPGRADING) mtws__client_upgrading(ws);
    else if (c->phase >= MTWS__PHASE_OPEN && mtws__client_run(ws, event)) return 1;
    if (c->phase == MTWS__PHASE_OPENING || c->phase == MTWS__PHASE_UPGRADING) {
        mtws__client_judge(ws);
    }
    return 0;
}

/* ---- waiting -------------------------------------------------------------------------------- */

MTWS_PRIVATE bool mtws__client_has_output(const mtws_client *ws) {
    const mtws__connection *c = &ws->connection;
    if (c->output_ended) return false;
    if (c->phase == MTWS__PHASE_UPGRADING) return c->request_at < c->request_size;
    if (c->phase < MTWS__PHASE_OPEN) return false;
    if (c->control_size > 0 || c->beat_at > 0) return true;
    if (c->close_made) return false;
    if (c->current == MTWS__NOWHERE) {
        return c->beat_size > 0 || mtws__client_turn(ws) != MTWS__NOWHERE;
    }
    return mtws__queue_has_output(&ws->queues[c->current], 0);
}

/* When there is something to do although no descriptor says so; UINT64_MAX: never, 0: now. */
MTWS_PRIVATE uint64_t mtws__client_timer_us(const mtws_client *ws) {
    const mtws__connection *c = &ws->connection;
    if (mtws__client_has_event(ws)) return 0;
    if (mtws__client_is_resting(ws)) {
        return ws->retry_asked ? 0 : mtws__queue_expiry_us(&ws->queues[MTWS__MAIN]);
    }
    bool at_once = (c->phase == MTWS__PHASE_OPENING && !c->transport_open) ||
                   (c->unparsed && !c->held) || (c->readable && !c->full && !c->input_ended) ||
                   (!c->blocked && mtws__client_has_output(ws));
    if (at_once) return 0;
    if (ws->network_changed) return 0;
    uint64_t at = mtws__min_u64(c->deadline_us, mtws__queue_expiry_us(&ws->queues[MTWS__MAIN]));
    if (c->phase == MTWS__PHASE_NONE) {
        return ws->retry_asked ? 0 : mtws__min_u64(at, ws->retry_us);
    }
    if (c->phase != MTWS__PHASE_OPEN) return at;
    const mtws__heartbeat *both[2] = {&c->heartbeat, &c->beat};
    for (int i = 0; i < 2; i++) {
        const mtws__heartbeat *h = both[i];
        if (!c->held) {
            at = mtws__min_u64(at, mtws__min_u64(h->look_us, mtws__heartbeat_deadline_us(h)));
        }
        if (!mtws__client_ping_fits(ws, h)) continue;
        if (i == 0) at = mtws__min_u64(at, mtws__client_again_us(ws));
        if (h->count == MTWS__PINGS_MAX) continue;
        at = mtws__min_u64(at, h->probe ? 0 : h->next_us);
        if (i == 0) at = mtws__min_u64(at, mtws__client_confirm_us(ws));
    }
    bool beat = c->beat_wanted || c->beat_stamp[0] != 0;
    if (beat && c->beat_size == 0) return 0;
    if (!ws->stopping) return at;
    return mtws__client_is_drained(ws) ? 0 : mtws__min_u64(at, mtws__client_drained_us(ws));
}

/* What to wait for, and how long. */
MTWS_PRIVATE void mtws__client_wait(mtws_client *ws, uint64_t now_us, mtws_wait *out) {
    const mtws__connection *c = &ws->connection;
    memset(out, 0, sizeof *out);
    out->timeout_ms = -1;
    ws->net.now_us = now_us;
    if (c->transport_open) {
        bool want_read = c->phase >= MTWS__PHASE_UPGRADING && !c->full && !c->input_ended;
        bool want_write = c->blocked && mtws__client_has_output(ws);
        ws->in_hook = true;
        ws->transport.wait(ws->transport.ctx, want_read, want_write, out);
        ws->in_hook = false;
        MTWS_ASSERT(out->count >= 0 && out->count <= MTWS_WAIT_MAX);
    }
    int own[2] = {ws->wake[0], ws->watch};
    for (int i = 0; i < 2; i++) {
        if (own[i] < 0 || out->count == MTWS_WAIT_MAX) continue;
        mtws_wait_fd *wait = &out->fds[out->count++];
        wait->fd = own[i];
        wait->serial = 0;
        wait->want_read = true;
        wait->want_write = false;
    }
    uint64_t timer_us = mtws__client_timer_us(ws);
    if (timer_us == UINT64_MAX) return;
    int32_t left_ms = mtws__ms_until(timer_us, now_us);
    if (out->timeout_ms < 0 || left_ms < out->timeout_ms) out->timeout_ms = left_ms;
}

/* Notes when somebody has to look again. */
MTWS_PRIVATE void mtws__client_leave(mtws_client *ws) {
    ws->due_us = mtws__max_u64(mtws__client_timer_us(ws), ws->now_us);
}

/* Brings the client's time up to date. To be late for a timer is a gap; to be away is none. */
MTWS_PRIVATE void mtws__client_tick(mtws_client *ws) {
    ws->now_us = mtws__client_fresh_us(ws);
    if (ws->now_us > mtws__add_u64(ws->due_us, MTWS__GAP_US)) mtws__client_gap(ws);
}

/* Whether the system told of a change. */
MTWS_PRIVATE bool mtws__client_watch(mtws_client *ws) {
    ws->watched_us = ws->now_us;
    bool changed = mtws__os_watch_changed(ws->watch);
    if (!changed) return false;
    ws->network_changed = true;
    mtws__net_changed(&ws->net);
    return true;
}

/* Poll fails, or says again and again that something is ready which then gives nothing: the wait is
 * left to time, for a system that is broken so must not cost a whole processor. */
MTWS_PRIVATE void mtws__client_nap(mtws_client *ws, bool failed, bool vain, int32_t timeout_ms) {
    uint64_t moved = ws->stats.bytes_sent + ws->stats.bytes_received;
    ws->idle = vain && moved == ws->slept ? mtws__min_size(ws->idle, MTWS__IDLE_MAX) + 1 : 0;
    ws->slept = moved;
    if (!failed && ws->idle <= MTWS__IDLE_MAX) return;
    bool longer = timeout_ms < 0 || timeout_ms > MTWS__NAP_MS;
    mtws__os_nap(longer ? (int32_t)MTWS__NAP_MS : timeout_ms);
    mtws__client_tick(ws);
}

/* Waits at most timeout_ms (-1: no limit). False where a signal or mtws_wake ended it. */
MTWS_PRIVATE bool mtws__client_sleep(mtws_client *ws, int32_t timeout_ms) {
    mtws_wait wait;
    struct pollfd fds[MTWS_WAIT_MAX];
    int count = 0;
    mtws__client_wait(ws, ws->now_us, &wait);
    if (wait.timeout_ms >= 0 && (timeout_ms < 0 || wait.timeout_ms < timeout_ms)) {
        timeout_ms = wait.timeout_ms;
    }
    for (int i = 0; i < wait.count; i++) {
        if (!wait.fds[i].want_read && !wait.fds[i].want_write) continue;
        fds[count].fd = wait.fds[i].fd;
        fds[count].events =
            (short)((wait.fds[i].want_read ? POLLIN : 0) | (wait.fds[i].want_write ? POLLOUT : 0));
        fds[count].revents = 0;
        count++;
    }
    mtws__client_leave(ws);
    uint64_t before_us = ws->now_us;
    int ready = mtws__os_poll(fds, count, timeout_ms);
    bool failed = ready < 0 && errno != EINTR;
    bool awake = ready < 0 && !failed, told = false;
    mtws__client_tick(ws);
    bool reads = ws->connection.phase >= MTWS__PHASE_UPGRADING;
    if (failed && reads) ws->connection.readable = true; /* perhaps; a read tells */
    for (int i = 0; ready > 0 && i < count; i++) {
        if (fds[i].revents == 0) continue;
        if (fds[i].fd == ws->wake[0]) awake = mtws__os_woken(ws->wake[0]);
        else if (fds[i].fd == ws->watch) told = mtws__client_watch(ws);
        else if ((fds[i].revents & ~POLLOUT) != 0 && reads) ws->connection.readable = true;
    }
    bool vain = !awake && !told && timeout_ms != 0 && ws->now_us - before_us < 1000;
    mtws__client_nap(ws, failed, vain, timeout_ms);
    return !awake;
}

/* ==========================================================================
 * >>public
 * uses: platform, bytes, names, utf8, json, random, url, http, handshake, frame, message, queue,
 *       dns, net, proxy, way, tls, client
 * The functions of api, in its order.
 */

/* ---- options and memory --------------------------------------------------------------------- */

enum { MTWS__ALIGNMENT = 16 };

typedef struct mtws__layout { /* where things lie in the one block */
    size_t entries[MTWS__SOURCES], entry_count[MTWS__SOURCES];
    size_t rings[MTWS__SOURCES], ring_size[MTWS__SOURCES];
    size_t message;
    size_t tls, tls_size; /* 0: none */
    mtws__tls_layout tls_layout;
    size_t total; /* with what any alignment of the block may cost */
} mtws__layout;

/* MTWS_MEMORY_SIZE promises that these hold. */
typedef char mtws__check_net[sizeof(mtws__net) <= MTWS__NET_SIZE ? 1 : -1];
typedef char mtws__check_client[sizeof(mtws_client) <= MTWS__CLIENT_SIZE ? 1 : -1];
typedef char mtws__check_entry[sizeof(mtws__entry) <= MTWS__ENTRY_SIZE ? 1 : -1];

/* Says in the log what is wrong with the options, of which no client is made. False, always. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
MTWS_PRIVATE bool
mtws__options_bad(const mtws_options *o, const char *format, ...) {
    if (o->logger.log == NULL) return false;
    char text[MTWS__LOG_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    o->logger.log(o->logger.ctx, MTWS_LOG_ERROR, "bad_option", text);
    return false;
}

/* The numbers of the options become what is meant by them. */
MTWS_PRIVATE bool mtws__options_numbers(mtws_options *o) {
    struct {
        const char *name;
        int32_t *value, normal; /* 0 means that */
        int32_t low;            /* the least special value that is taken; 1: none */
    } numbers[] = {
        {"max_reconnect_attempts", &o->max_reconnect_attempts, 10, MTWS_UNLIMITED},
        {"initial_reconnect_delay_ms", &o->initial_reconnect_delay_ms, 1000, 1},
        {"max_reconnect_delay_ms", &o->max_reconnect_delay_ms, 30000, 1},
        {"stable_ms", &o->stable_ms, 30000, 1},
        {"heartbeat_interval_ms", &o->heartbeat_interval_ms, 30000, MTWS_OFF},
        {"heartbeat_timeout_ms", &o->heartbeat_timeout_ms, 5000, 1},
        {"connect_timeout_ms", &o->connect_timeout_ms, 20000, 1},
        {"close_timeout_ms", &o->close_timeout_ms, 5000, 1},
        {"dns_timeout_ms", &o->dns_timeout_ms, 0, 0},
        {"confirm_delay_ms", &o->confirm_delay_ms, 100, MTWS_OFF},
        {"queue_ttl_ms", &o->queue_ttl_ms, MTWS_OFF, MTWS_OFF},
        {"max_redirects", &o->max_redirects, MTWS_OFF, MTWS_OFF},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int32_t *value = numbers[i].value;
        if (*value == 0) *value = numbers[i].normal;
        if (*value >= numbers[i].low) continue;
        return mtws__options_bad(
            o, "options.%s is %ld: it takes numbers from 1 on, 0 for its default%s%s",
            numbers[i].name, (long)*value, numbers[i].low <= MTWS_OFF ? ", MTWS_OFF" : "",
            numbers[i].low <= MTWS_UNLIMITED ? ", MTWS_UNLIMITED" : "");
    }
    if (o->max_redirects > MTWS__REDIRECTS_MAX) o->max_redirects = MTWS__REDIRECTS_MAX;
    double factor = o->reconnect_backoff_factor;
    if (factor == 0.0) o->reconnect_backoff_factor = 1.5;
    else if (!(factor >= 1.0 && factor <= 1000.0)) { /* NaN too */
        return mtws__options_bad(o, "options.reconnect_backoff_factor is %g: it takes 1 to 1000",
                                 factor);
    }
    return true;
}

MTWS_PRIVATE bool mtws__options_sizes(mtws_options *o) {
    const size_t least = 2 + 4 + 1; /* a byte's message: header, masking key, payload */
    const size_t most = SIZE_MAX / 4;
    if (o->max_message_size == 0) o->max_message_size = 1048576;
    if (o->max_queue_size == 0) o->max_queue_size = 1048576;
    if (o->max_frame_size == 0) o->max_frame_size = 65536;
    if (o->max_queue_size < least) {
        return mtws__options_bad(o,
                                 "options.max_queue_size is %u: no message fits into less than %u",
                                 (unsigned)o->max_queue_size, (unsigned)least);
    }
    if (o->max_queue_size <= most && o->max_message_size <= most) return true;
    return mtws__options_bad(o, "options.%s is more than this machine can address",
                             o->max_queue_size > most ? "max_queue_size" : "max_message_size");
}

MTWS_PRIVATE bool mtws__options_kinds_ok(const mtws_options *o) {
    const struct {
        const char *name;
        int value, most;
    } kinds[] = {
        {"network", (int)o->network, MTWS_NETWORK_MANUAL},
        {"resolver", (int)o->resolver, MTWS_RESOLVER_SYSTEM},
        {"heartbeat", (int)o->heartbeat, MTWS_HEARTBEAT_JSON},
        {"confirm", (int)o->confirm, MTWS_CONFIRM_NONE},
        {"logger.level", (int)o->logger.level, MTWS_LOG_DEBUG},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].value >= 0 && kinds[i].value <= kinds[i].most) continue;
        return mtws__options_bad(o, "options.%s is %d, which none of its constants is",
                                 kinds[i].name, kinds[i].value);
    }
    return true;
}

MTWS_PRIVATE bool mtws__options_hooks_ok(const mtws_options *o) {
    const mtws_transport *t = &o->transport;
    int transport = (t->open != NULL) + (t->read != NULL) + (t->write != NULL) + (t->wait != NULL) +
                    (t->close != NULL);
    if (transport != 0 && transport != 5) {
        return mtws__options_bad(o, "options.transport needs all of its functions, and has %d of 5",
                                 transport);
    }
    return (o->clock.now_us == NULL) == (o->clock.unix_ms == NULL) ||
           mtws__options_bad(o, "options.clock needs both of its functions, and has one");
}

MTWS_PRIVATE bool mtws__options_servers_ok(const mtws_options *o) {
    mtws__dns_config servers;
    mtws__dns_config_start(&servers);
    return o->dns_servers == NULL || mtws__dns_servers_parse(o->dns_servers, &servers) ||
           mtws__options_bad(o, "options.dns_servers takes up to three addresses as in "
                                "\"9.9.9.9, [2620:fe::fe]:53\"");
}

/* Copies the options with their defaults. False: one of them is bad, and the log has named it. */
MTWS_PRIVATE bool mtws__options_resolve(const mtws_options *given, mtws_options *o) {
    memset(o, 0, sizeof *o);
    if (given != NULL) *o = *given;
    if (o->subprotocols == NULL) o->subprotocols = "";
    if (o->proxy == NULL) o->proxy = "";
    if (o->logger.log == NULL && o->debug) {
        o->logger.log = mtws__log_to_stderr;
        o->logger.level = MTWS_LOG_DEBUG;
    }
    if (o->logger.level == 0) o->logger.level = MTWS_LOG_INFO;
    return mtws__options_numbers(o) && mtws__options_sizes(o) && mtws__options_kinds_ok(o) &&
           mtws__options_hooks_ok(o) && mtws__options_servers_ok(o) &&
           (mtws__handshake_subprotocols_ok(o->subprotocols) ||
            mtws__options_bad(o, "options.subprotocols takes names as in \"chat, superchat\": RFC "
                                 "9110's tokens, each once"));
}

/* Takes `size` bytes of the block, aligned. */
MTWS_PRIVATE size_t mtws__layout_take(mtws__layout *l, size_t size) {
    size_t at = l->total;
    if (size > SIZE_MAX / 4 - at) {
        l->total = SIZE_MAX / 4;
        return at;
    }
    size += MTWS__ALIGNMENT - 1;
    l->total = at + (size - size % MTWS__ALIGNMENT);
    return at;
}

/* False where the limits are too large for the machine's addresses. */
MTWS_PRIVATE bool mtws__layout_make(const mtws_options *o, mtws__layout *l) {
    memset(l, 0, sizeof *l);
    l->ring_size[MTWS__MAIN] = o->max_queue_size;
    l->ring_size[MTWS__FIRST_QUEUE] = MTWS_FIRST_MAX;
    l->ring_size[MTWS__PARTS] = MTWS_PART_MAX;
    mtws__layout_take(l, sizeof(mtws_client));
    for (int i = 0; i < MTWS__SOURCES; i++) {
        l->entry_count[i] = l->ring_size[i] / MTWS_MESSAGE_ROOM + MTWS__ENTRIES_MIN;
        l->entries[i] = mtws__layout_take(l, l->entry_count[i] * sizeof(mtws__entry));
        l->rings[i] = mtws__layout_take(l, l->ring_size[i]);
    }
    l->message = mtws__layout_take(l, o->max_message_size + MTWS__READ_AHEAD + 1);
    if (o->transport.open == NULL) l->tls_size = mtws__tls_room(o, &l->tls_layout);
    l->tls = mtws__layout_take(l, l->tls_size);
    l->total += MTWS__ALIGNMENT - 1;
    return l->total < SIZE_MAX / 4;
}

/* Where the block's first aligned byte lies. */
MTWS_PRIVATE uint8_t *mtws__layout_base(void *memory) {
    size_t off = (size_t)((uintptr_t)memory % MTWS__ALIGNMENT);
    return (uint8_t *)memory + (off == 0 ? 0 : MTWS__ALIGNMENT - off);
}

/* What mtws_create needs to know: the options, and where things lie. False: an option is bad. */
MTWS_PRIVATE bool mtws__options_take(const mtws_options *given, mtws_options *o, mtws__layout *l) {
    return mtws__options_resolve(given, o) &&
           (mtws__layout_make(o, l) ||
            mtws__options_bad(o, "options.max_message_size and max_queue_size together exceed what "
                                 "this machine can address"));
}

/* ---- texts of the request ------------------------------------------------------------------- */

MTWS_PRIVATE bool mtws__pairs_end(const mtws_pair *pair) {
    return pair == NULL || (pair->name == NULL && pair->value == NULL);
}

/* What the URL says lies behind the headers and moves with their size; by is modulo SIZE_MAX + 1.
 * */
MTWS_PRIVATE void mtws__texts_shift(mtws_client *ws, size_t by) {
    ws->texts_size += by;
    ws->host_field_at += by;
    ws->target_at += by;
    ws->userinfo_at += by;
}

/* The size of all headers called name, which with `take` are taken out of the texts. */
MTWS_PRIVATE size_t mtws__texts_headers(mtws_client *ws, const char *name, bool take) {
    size_t at = ws->headers_at, found = 0;
    while (at < ws->headers_at + ws->headers_size) {
        mtws__span field;
        field.data = (const uint8_t *)ws->texts + at;
        field.size = strcspn(ws->texts + at, ":");
        size_t size = strcspn(ws->texts + at, "\n") + 1;
        bool same = mtws__span_is(field, name);
        if (same) found += size;
        if (!same || !take) {
            at += size;
            continue;
        }
        memmove(ws->texts + at, ws->texts + at + size, ws->texts_size - at - size);
        ws->headers_size -= size;
        mtws__texts_shift(ws, 0 - size);
    }
    return found;
}

MTWS_PRIVATE mtws_result mtws__texts_add(mtws_client *ws, const char *name, const char *value) {
    mtws__span name_span = mtws__span_of(name), value_span = mtws__span_of(value);
    size_t size = name_span.size + value_span.size + 4;
    if (size > sizeof ws->texts - ws->texts_size) return MTWS_ERR_TOO_BIG;
    char *at = ws->texts + ws->headers_at + ws->headers_size;
    memmove(at + size, at, ws->texts_size - (size_t)(at - ws->texts));
    memcpy(at, name, name_span.size);
    memcpy(at + name_span.size, ": ", 2);
    if (value_span.size > 0) memcpy(at + name_span.size + 2, value, value_span.size);
    memcpy(at + size - 2, "\r\n", 2);
    ws->headers_size += size;
    mtws__texts_shift(ws, size);
    return MTWS_OK;
}

/* Whether a header may stand in the request; where not, the log says why. value NULL: the name. */
MTWS_PRIVATE bool mtws__header_ok(mtws_client *ws, const char *name, const char *value) {
    char shown[64];
    mtws__span name_span = mtws__span_of(name);
    const char *wrong = NULL;
    if (!mtws__http_is_token(name_span)) wrong = "is no token of RFC 9110";
    else if (mtws__handshake_reserved(name_span)) wrong = "belongs to the handshake";
    else if (value != NULL && !mtws__http_is_value(mtws__span_of(value)))
        wrong = "has a value with control characters";
    if (wrong == NULL) return true;
    mtws__client_clean_text(shown, sizeof shown, name_span);
    mtws__log(ws, MTWS_LOG_ERROR, "bad_header", "the header \"%s\" %s", shown, wrong);
    return false;
}

/* The target: path, the URL's query, then params. */
MTWS_PRIVATE bool mtws__texts_target(mtws__writer *w, const mtws__url *url,
                                     const mtws_pair *params) {
    mtws__url_put_target(w, url);
    bool any = url->query.data != NULL && url->query.size > 0;
    const char *joint = any ? "&" : url->query.data != NULL ? "" : "?";
    for (; !mtws__pairs_end(params); params++) {
        if (params->name == NULL || params->name[0] == 0 || params->value == NULL) return false;
        mtws__writer_text(w, joint);
        mtws__url_encode(w, params->name);
        mtws__writer_text(w, "=");
        mtws__url_encode(w, params->value);
        joint = "&";
    }
    return true;
}

/* Sets where the next attempt goes. Nothing is changed unless MTWS_OK. */
MTWS_PRIVATE mtws_result mtws__texts_set_url(mtws_client *ws, const char *text,
                                             const mtws_pair *params) {
    mtws__url url;
    char scratch[MTWS_REQUEST_MAX];
    mtws__writer w;
    if (!mtws__url_parse(&url, mtws__span_of(text))) {
        mtws__log(ws, MTWS_LOG_ERROR, "bad_url", "not a URL of WebSockets: %s", url.wrong);
        return MTWS_ERR_URL;
    }
    if (url.tls) {
        mtws_result result = mtws__client_need_tls(ws);
        if (result != MTWS_OK) return result;
    }
    mtws__writer_open(&w, scratch, sizeof scratch);
    mtws__url_put_host(&w, &url, url.port != (url.tls ? 443 : 80));
    mtws__writer_put(&w, "", 1);
    size_t target_at = w.size;
    if (!mtws__texts_target(&w, &url, params)) return MTWS_ERR_ARGUMENT;
    mtws__writer_put(&w, "", 1);
    size_t userinfo_at = w.size;
    mtws__span password = url.userinfo, user = mtws__url_cut(&password, ":");
    bool good = mtws__url_decode(&w, user);
    /* RFC 7617 section 2: a user-id without colons, a colon, the password. */
    good = good && memchr(scratch + userinfo_at, ':', w.size - userinfo_at) == NULL;
    if (user.size > 0 && password.size == 0) mtws__writer_text(&w, ":");
    good = mtws__url_decode(&w, password) && good;
    if (!good) {
        mtws__log(ws, MTWS_LOG_ERROR, "bad_url",
                  "not a URL of WebSockets: its user has a colon, or user or password a control "
                  "character");
        return MTWS_ERR_URL;
    }
    mtws__writer_put(&w, "", 1);

    /* The request has it in base64, which is longer. */
    size_t plain = w.size - userinfo_at - 1;
    size_t growth = (plain + 2) / 3 * 4 - plain;
    size_t at = ws->headers_at + ws->headers_size;
    if (w.full || w.size + growth > sizeof ws->texts - at) return MTWS_ERR_TOO_BIG;
    memcpy(ws->texts + at, scratch, w.size);
    ws->host_field_at = at;
    ws->target_at = at + target_at;
    ws->userinfo_at = at + userinfo_at;
    ws->texts_size = at + w.size + growth;
    ws->has_userinfo = url.userinfo.size > 0;
    ws->has_url = true;
    for (size_t i = 0; i < url.host.size; i++) ws->host[i] = mtws__lower((char)url.host.data[i]);
    ws->host[url.host.size] = 0;
    ws->port = url.port;
    ws->tls = url.tls;
    return MTWS_OK;
}

MTWS_PRIVATE mtws_result mtws__texts_set_proxy(mtws_client *ws, const char *text) {
    mtws_result result = mtws__proxy_check(text);
    if (result == MTWS_OK) {
        memmove(ws->proxy_text, text, strlen(text) + 1); /* it may be what mtws_get_options gave */
    } else if (result == MTWS_ERR_URL) {
        mtws__log(ws, MTWS_LOG_ERROR, "bad_proxy",
                  "a proxy is http://, socks5:// or socks5h://, [user:password@]host and [:port]; "
                  "special characters in user and password are percent-encoded");
    }
    return result;
}

/* Copies the options' strings. */
MTWS_PRIVATE mtws_result mtws__texts_start(mtws_client *ws) {
    size_t size = strlen(ws->options.subprotocols) + 1;
    if (size > sizeof ws->texts) return MTWS_ERR_TOO_BIG;
    memcpy(ws->texts, ws->options.subprotocols, size);
    ws->headers_at = ws->texts_size = size;
    for (const mtws_pair *h = ws->options.headers; !mtws__pairs_end(h); h++) {
        const char *name = h->name == NULL ? "" : h->name;
        if (!mtws__header_ok(ws, name, h->value)) return MTWS_ERR_ARGUMENT;
        if (h->value == NULL) {
            mtws__log(ws, MTWS_LOG_ERROR, "bad_header",
                      "the header \"%s\" of options.headers has no value; the list ends with "
                      "{NULL, NULL}",
                      name);
            return MTWS_ERR_ARGUMENT;
        }
        mtws_result result = mtws__texts_add(ws, name, h->value);
        if (result != MTWS_OK) return result;
    }
    ws->options.subprotocols = ws->texts;
    ws->options.headers = NULL;
    return MTWS_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

MTWS_API size_t mtws_memory_required(const mtws_options *options) {
    mtws_options resolved;
    mtws__layout layout;
    return mtws__options_take(options, &resolved, &layout) ? layout.total : 0;
}

MTWS_API mtws_result mtws_create(mtws_client **out, const mtws_options *options) {
    if (out == NULL) return MTWS_ERR_ARGUMENT;
    *out = NULL;
    size_t size = mtws_memory_required(options);
    if (size == 0) return MTWS_ERR_ARGUMENT;
    void *block = MTWS_MALLOC(size);
    if (block == NULL) return MTWS_ERR_MEMORY;
    mtws_result result = mtws_create_in(out, options, block, size);
    if (result != MTWS_OK) MTWS_FREE(block);
    else (*out)->block = block;
    return result;
}

MTWS_API mtws_result mtws_create_in(mtws_client **out, const mtws_options *options, void *memory,
                                    size_t size) {
    mtws_options resolved;
    mtws__layout layout;
    if (out == NULL) return MTWS_ERR_ARGUMENT;
    *out = NULL;
    if (!mtws__options_take(options, &resolved, &layout) || memory == NULL)
        return MTWS_ERR_ARGUMENT;
    if (size < layout.total) return MTWS_ERR_MEMORY;
    uint8_t *base = mtws__layout_base(memory);
    mtws_client *ws = (mtws_client *)(void *)base;
    memset(ws, 0, sizeof *ws);
    ws->options = resolved;
    ws->own_net = resolved.transport.open == NULL;
    ws->next_id = 1;
    ws->subprotocol = "";
    ws->wake[0] = ws->wake[1] = ws->watch = -1;
    mtws_result result = mtws__texts_start(ws);
    if (result == MTWS_OK) result = mtws__texts_set_proxy(ws, resolved.proxy);
    if (result != MTWS_OK) return result;
    ws->options.proxy = ws->proxy_text;
    mtws__net_start(&ws->net);
    mtws__net_names(&ws->net, resolved.resolver, resolved.dns_servers, resolved.dns_timeout_ms);
    mtws__net_time(&ws->net, resolved.connect_timeout_ms);
    ws->options.dns_servers = NULL;
    mtws__proxy_start(&ws->proxy, ws->answer, sizeof ws->answer);
    for (int i = 0; i < MTWS__SOURCES; i++) {
        mtws__queue_open(&ws->queues[i], base + layout.rings[i], layout.ring_size[i],
                         (mtws__entry *)(void *)(base + layout.entries[i]), layout.entry_count[i],
                         i != MTWS__MAIN);
    }
    ws->message.data = base + layout.message;
    result = mtws__client_start_tls(ws, base + layout.tls, layout.tls_size, &layout.tls_layout);
    if (result != MTWS_OK) return result;
    ws->now_us = mtws__client_clock_us(ws);
    ws->due_us = UINT64_MAX;
    mtws__client_reset_connection(ws);
    if (resolved.confirm == MTWS_CONFIRM_PONG && resolved.confirm_delay_ms == MTWS_OFF &&
        resolved.heartbeat_interval_ms == MTWS_OFF) {
        mtws__log(ws, MTWS_LOG_WARN, "nothing_asks",
                  "confirm_delay_ms and heartbeat_interval_ms are MTWS_OFF, so no Ping confirms "
                  "messages and the queue fills: let one of them ask, or set options.confirm");
    }
    if (resolved.wakeable && !mtws__os_wake_open(ws->wake)) return MTWS_ERR_CONNECT;
    if (resolved.network == MTWS_NETWORK_AUTO && ws->own_net) ws->watch = mtws__os_watch_open();
    *out = ws;
    return MTWS_OK;
}

MTWS_API void mtws_destroy(mtws_client *ws) {
    if (ws == NULL) return;
    MTWS_ASSERT(!ws->in_hook);
    if (ws->connection.transport_open) ws->transport.close(ws->transport.ctx);
    mtws__tls_destroy(ws->tls_layer);
    mtws__net_sweep(&ws->net);
    mtws__os_wake_close(ws->wake);
    if (ws->watch >= 0) mtws__os_close(ws->watch);
    if (ws->block != NULL) MTWS_FREE(ws->block);
}

MTWS_API mtws_result mtws_connect(mtws_client *ws, const char *url, const mtws_pair *params) {
    MTWS_ASSERT(!ws->in_hook);
    if (url == NULL) return MTWS_ERR_ARGUMENT;
    if (!mtws__client_is_resting(ws)) return MTWS_ERR_STATE;
    mtws_result result = mtws__texts_set_url(ws, url, params);
    if (result == MTWS_OK) ws->connect_asked = true;
    return result;
}

MTWS_API mtws_result mtws_disconnect(mtws_client *ws, uint16_t code, const char *reason) {
    MTWS_ASSERT(!ws->in_hook);
    mtws__connection *c = &ws->connection;
    mtws__span text = mtws__span_of(reason == NULL ? "" : reason);
    if (code == 0) code = 1000;
    if (!mtws__close_code_ok(code) || text.size > MTWS__CONTROL_MAX - 2) return MTWS_ERR_ARGUMENT;
    if (!mtws__utf8_valid(text.data, text.size)) return MTWS_ERR_UTF8;
    ws->connect_asked = ws->retry_asked = false;
    if (ws->state == MTWS_STATE_DISCONNECTED) return MTWS_OK;
    if (ws->state != MTWS_STATE_CONNECTED || c->phase < MTWS__PHASE_OPEN || ws->stopping) {
        ws->stop_now = true;
        return MTWS_OK;
    }
    ws->stopping = true;
    c->gaps = 0;
    ws->stop_code = code;
    memcpy(ws->stop_reason, text.data, text.size);
    ws->stop_reason[text.size] = 0;
    uint64_t now_us = mtws__client_fresh_us(ws);
    ws->stop_deadline_us = mtws__client_close_us(ws, now_us);
    if (c->phase > MTWS__PHASE_OPEN) {
        c->deadline_us = mtws__min_u64(c->deadline_us, ws->stop_deadline_us);
    }
    uint64_t due_us = mtws__max_u64(mtws__client_timer_us(ws), now_us);
    ws->due_us = mtws__min_u64(ws->due_us, due_us);
    return MTWS_OK;
}

MTWS_API mtws_result mtws_retry_now(mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    bool waits = ws->state == MTWS_STATE_RECONNECTING || ws->state == MTWS_STATE_FAILED ||
                 ws->state == MTWS_STATE_WAITING_FOR_NETWORK;
    if (!waits) return MTWS_ERR_STATE;
    ws->retry_asked = ws->connection.phase == MTWS__PHASE_NONE;
    return MTWS_OK;
}

MTWS_API mtws_result mtws_set_url(mtws_client *ws, const char *url, const mtws_pair *params) {
    MTWS_ASSERT(!ws->in_hook);
    return url == NULL ? MTWS_ERR_ARGUMENT : mtws__texts_set_url(ws, url, params);
}

MTWS_API mtws_result mtws_set_header(mtws_client *ws, const char *name, const char *value) {
    MTWS_ASSERT(!ws->in_hook);
    if (name == NULL || !mtws__header_ok(ws, name, value)) return MTWS_ERR_ARGUMENT;
    if (value != NULL) { /* nothing is changed where it does not fit */
        size_t room = sizeof ws->texts - ws->texts_size + mtws__texts_headers(ws, name, false);
        if (strlen(name) + strlen(value) + 4 > room) return MTWS_ERR_TOO_BIG;
    }
    mtws__texts_headers(ws, name, true);
    return value == NULL ? MTWS_OK : mtws__texts_add(ws, name, value);
}

MTWS_API mtws_result mtws_set_proxy(mtws_client *ws, const char *proxy) {
    MTWS_ASSERT(!ws->in_hook);
    return mtws__texts_set_proxy(ws, proxy == NULL ? "" : proxy);
}

MTWS_API mtws_result mtws_proxy_from_environment(const char *text, char *out, size_t size) {
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    const char *proxy = NULL;
    mtws__url url;
    mtws__writer w;
    if (out == NULL || size == 0) return MTWS_ERR_ARGUMENT;
    mtws__writer_open(&w, out, size);
    if (text == NULL || !mtws__url_parse(&url, mtws__span_of(text))) return MTWS_ERR_URL;
    if (!url.tls) proxy = mtws__os_environment("http_proxy");
    for (size_t i = url.tls ? 0 : 2; i < 4 && proxy == NULL; i++) {
        proxy = mtws__os_environment(names[i]);
    }
    const char *spared = mtws__os_environment("no_proxy");
    if (spared == NULL) spared = mtws__os_environment("NO_PROXY");
    if (proxy == NULL) return MTWS_OK;
    if (spared != NULL && mtws__proxy_spares(spared, url.host, url.port)) return MTWS_OK;
    if (strstr(proxy, "://") == NULL) mtws__writer_text(&w, "http://");
    mtws__writer_text(&w, proxy);
    mtws_result result = w.full ? MTWS_ERR_TOO_BIG : mtws__proxy_check(out);
    if (result != MTWS_OK) out[0] = 0;
    return result == MTWS_ERR_URL ? MTWS_ERR_PROXY : result;
}

/* ---- whom wss:// trusts ---------------------------------------------------------------------- */

MTWS_API mtws_result mtws_trust_create(mtws_trust **out, const char *ca_file, const char *ca_pem) {
    if (out == NULL) return MTWS_ERR_ARGUMENT;
    *out = NULL;
    size_t size = mtws__trust_required(ca_file, ca_pem);
    if (size == 0) return MTWS_ERR_TLS;
    void *block = MTWS_MALLOC(size);
    if (block == NULL) return MTWS_ERR_MEMORY;
    mtws_result result = mtws__trust_make(out, ca_file, ca_pem, block, size);
    if (result != MTWS_OK) MTWS_FREE(block);
    else *mtws__trust_block(*out) = block;
    return result;
}

MTWS_API mtws_result mtws_trust_create_in(mtws_trust **out, const char *ca_file, const char *ca_pem,
                                          void *memory, size_t size) {
    if (out == NULL) return MTWS_ERR_ARGUMENT;
    *out = NULL;
    if (memory == NULL) return MTWS_ERR_ARGUMENT;
    return mtws__trust_make(out, ca_file, ca_pem, memory, size);
}

MTWS_API size_t mtws_trust_memory_required(const char *ca_file, const char *ca_pem) {
    return mtws__trust_required(ca_file, ca_pem);
}

MTWS_API size_t mtws_trust_count(const mtws_trust *trust) { return mtws__trust_anchors(trust); }

MTWS_API void mtws_trust_destroy(mtws_trust *trust) {
    void *block = trust == NULL ? NULL : *mtws__trust_block(trust);
    if (block != NULL) MTWS_FREE(block);
}

MTWS_API mtws_result mtws_set_trust(mtws_client *ws, const mtws_trust *trust) {
    MTWS_ASSERT(!ws->in_hook);
    if (ws->tls_layer == NULL) return MTWS_ERR_TLS;
    if (trust == NULL) return MTWS_ERR_ARGUMENT;
    mtws__tls_set_trust(ws->tls_layer, trust);
    return MTWS_OK;
}

/* ---- the pump -------------------------------------------------------------------------------- */

MTWS_API int mtws_poll(mtws_client *ws, mtws_event *event, int32_t timeout_ms) {
    MTWS_ASSERT(!ws->in_hook);
    memset(event, 0, sizeof *event);
    event->reason = "";
    event->data = (const uint8_t *)"";
    mtws__message_release(&ws->message);
    mtws__net_sweep(&ws->net);
    mtws__client_tick(ws);
    ws->connection.pong_flushes = 0;
    if (timeout_ms == 0) {
        ws->connection.readable = ws->connection.phase >= MTWS__PHASE_UPGRADING;
        /* A look costs a system call: spared while bytes move, but a poll that moved none may have
         * been called for the network's sake. */
        uint64_t moved = ws->stats.bytes_sent + ws->stats.bytes_received;
        bool look = moved == ws->moved || ws->now_us - ws->watched_us >= MTWS__WATCH_US;
        if (ws->watch >= 0 && look) mtws__client_watch(ws);
        ws->moved = moved;
    }
    uint64_t end_us =
        timeout_ms < 0 ? UINT64_MAX : mtws__add_u64(ws->now_us, (uint64_t)timeout_ms * 1000);
    int result;
    for (;;) {
        result = mtws__client_step(ws, event);
        if (result != 0) break;
        if (mtws__client_has_event(ws)) continue;
        if (ws->now_us >= end_us) break;
        int32_t left_ms = timeout_ms < 0 ? -1 : mtws__ms_until(end_us, ws->now_us);
        if (!mtws__client_sleep(ws, left_ms)) break;
        ws->connection.pong_flushes = 0;
    }
    /* Where an event goes out instead, the wake-up is for a later call. */
    if (timeout_ms == 0 && result != 1 && ws->wake[0] >= 0) mtws__os_woken(ws->wake[0]);
    event->state = ws->state;
    mtws__net_show(&ws->net);
    mtws__client_leave(ws);
    return result;
}

MTWS_API void mtws_get_wait(const mtws_client *ws, mtws_wait *out) {
    /* The clock and the transport's wait are hooks, and that one is running is noted meanwhile. */
    mtws_client *self = (mtws_client *)(uintptr_t)ws;
    MTWS_ASSERT(!ws->in_hook);
    mtws__client_wait(self, mtws__client_fresh_us(self), out);
    /* Who waits as long as this says is not late, although mtws_poll left an event behind that what
     * was called since has undone. */
    self->due_us = mtws__max_u64(self->due_us, mtws__client_timer_us(self));
}

MTWS_API mtws_result mtws_wake(mtws_client *ws) {
    if (ws->wake[1] < 0) return MTWS_ERR_STATE;
    mtws__os_wake(ws->wake[1]);
    return MTWS_OK;
}

MTWS_API mtws_result mtws_set_paused(mtws_client *ws, bool paused) {
    MTWS_ASSERT(!ws->in_hook);
    ws->paused = paused;
    if (!paused) mtws__client_resume(ws);
    return MTWS_OK;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Whether messages can leave on the present connection. */
MTWS_PRIVATE bool mtws__client_is_open(const mtws_client *ws) {
    return ws->state == MTWS_STATE_CONNECTED && ws->connection.phase >= MTWS__PHASE_OPEN &&
           !ws->connection.close_made;
}

/* Frames are masked as they are copied in; before a connection is open its keys are not known, and
 * they are masked as they leave. */
MTWS_PRIVATE mtws__random *mtws__client_masks(mtws_client *ws) {
    return ws->connection.phase >= MTWS__PHASE_OPEN ? &ws->random : NULL;
}

MTWS_PRIVATE mtws_result mtws__client_refuse(mtws_client *ws, int source, size_t wire_size) {
    ws->refused_size = wire_size;
    ws->refused_queue = source;
    mtws__log(ws, MTWS_LOG_DEBUG, "queue_full",
              "a message of %llu bytes was not taken: wait for MTWS_EVENT_WRITABLE, or raise %s",
              (unsigned long long)wire_size,
              source == MTWS__MAIN    ? "options.max_queue_size"
              : source == MTWS__PARTS ? "MTWS_PART_MAX"
                                      : "MTWS_FIRST_MAX");
    return MTWS_ERR_QUEUE_FULL;
}

MTWS_PRIVATE bool mtws__payload_ok(mtws_kind kind, const void *data, size_t size) {
    return (kind == MTWS_TEXT || kind == MTWS_BINARY) && (data != NULL || size == 0);
}

/* No arithmetic is defined for NULL, which stands for an empty payload. */
MTWS_PRIVATE const uint8_t *mtws__payload_bytes(const void *data) {
    return (const uint8_t *)(data == NULL ? "" : data);
}

MTWS_API mtws_result mtws_send(mtws_client *ws, mtws_kind kind, const void *data, size_t size,
                               unsigned flags, uint64_t *id) {
    MTWS_ASSERT(!ws->in_hook);
    const unsigned known = MTWS_ONCE | MTWS_NO_QUEUE | MTWS_FIRST;
    if (!mtws__payload_ok(kind, data, size) || (flags & ~known) != 0) return MTWS_ERR_ARGUMENT;
    if (ws->stopping || ws->stop_now) return MTWS_ERR_STATE;
    bool bound = (flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0;
    if (bound && !mtws__client_is_open(ws)) return MTWS_ERR_STATE;
    if (ws->options.at_most_once) flags |= MTWS_ONCE;
    int source = (flags & MTWS_FIRST) != 0 ? MTWS__FIRST_QUEUE : MTWS__MAIN;
    mtws__queue *q = &ws->queues[source];
    size_t wire_size = mtws__queue_wire_size(size, ws->options.max_frame_size);
    if (wire_size > q->ring.capacity) return MTWS_ERR_TOO_BIG;
    if (kind == MTWS_TEXT && !mtws__utf8_valid(data, size)) return MTWS_ERR_UTF8;
    if (!mtws__client_fits(ws, source, wire_size) &&
        (!ws->options.drop_oldest || source != MTWS__MAIN ||
         !mtws__queue_evict(q, wire_size, MTWS_ERR_QUEUE_FULL))) {
        ws->refused_begin = false;
        return mtws__client_refuse(ws, source, wire_size);
    }
    uint64_t deadline_us = UINT64_MAX;
    if (ws->options.queue_ttl_ms != MTWS_OFF && source == MTWS__MAIN) {
        uint64_t now_us = mtws__client_fresh_us(ws);
        deadline_us = mtws__add_u64(now_us, (uint64_t)ws->options.queue_ttl_ms * 1000);
    }
    if (id != NULL) *id = ws->next_id;
    mtws__queue_append(q, ws->next_id++, flags, deadline_us);
    mtws__queue_frames(q, (uint8_t)kind, true, mtws__payload_bytes(data), size,
                       ws->options.max_frame_size, mtws__client_masks(ws));
    return MTWS_OK;
}

MTWS_API mtws_result mtws_send_text(mtws_client *ws, const char *text) {
    if (text == NULL) return MTWS_ERR_ARGUMENT;
    return mtws_send(ws, MTWS_TEXT, text, strlen(text), 0, NULL);
}

MTWS_API mtws_result mtws_send_part(mtws_client *ws, mtws_kind kind, const void *data, size_t size,
                                    bool first, bool last, uint64_t *id) {
    MTWS_ASSERT(!ws->in_hook);
    mtws__queue *q = &ws->queues[MTWS__PARTS];
    if (!mtws__payload_ok(kind, data, size)) return MTWS_ERR_ARGUMENT;
    if (first) {
        if (ws->part_id != 0) return MTWS_ERR_ARGUMENT;
        if (!mtws__client_is_open(ws) || ws->stopping) return MTWS_ERR_STATE;
    } else if (ws->part_id == 0) {
        return MTWS_ERR_RESET;
    }
    size_t wire_size = mtws__queue_wire_size(size, ws->options.max_frame_size);
    if (wire_size > q->ring.capacity) return MTWS_ERR_TOO_BIG;
    mtws__utf8 utf8 = ws->part_utf8;
    if (first) mtws__utf8_start(&utf8);
    bool text = first ? kind == MTWS_TEXT : ws->part_text;
    if (text && (!mtws__utf8_feed(&utf8, (const uint8_t *)data, size) ||
                 (last && !mtws__utf8_whole(&utf8))))
        return MTWS_ERR_UTF8;
    bool busy = first && q->next < q->end; /* the one before has not left */
    if (busy || !mtws__client_fits(ws, MTWS__PARTS, wire_size)) {
        ws->refused_begin = busy;
        return mtws__client_refuse(ws, MTWS__PARTS, wire_size);
    }
    if (first) {
        ws->part_id = ws->next_id++;
        ws->part_text = text;
        ws->queues[MTWS__MAIN].barrier = ws->queues[MTWS__MAIN].end;
        mtws__queue_append(q, ws->part_id, MTWS_NO_QUEUE, UINT64_MAX);
    }
    if (id != NULL) *id = ws->part_id;
    ws->part_utf8 = utf8;
    mtws__queue_entry(q, q->end - 1)->open = !last;
    mtws__queue_frames(q, first ? (uint8_t)kind : (uint8_t)MTWS__CONTINUATION, last,
                       mtws__payload_bytes(data), size, ws->options.max_frame_size,
                       mtws__client_masks(ws));
    if (last) ws->part_id = 0;
    return MTWS_OK;
}

MTWS_API mtws_result mtws_release_queue(mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    if (ws->state != MTWS_STATE_CONNECTED) return MTWS_ERR_STATE;
    ws->connection.released = true;
    return MTWS_OK;
}

MTWS_API mtws_result mtws_clear_queue(mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    bool open = ws->connection.phase >= MTWS__PHASE_OPEN;
    mtws__queue_clear(&ws->queues[MTWS__MAIN], MTWS_ERR_CLEARED, !open);
    mtws__queue_clear(&ws->queues[MTWS__FIRST_QUEUE], MTWS_ERR_CLEARED, false);
    return MTWS_OK;
}

MTWS_API mtws_result mtws_confirm(mtws_client *ws, uint64_t id) {
    MTWS_ASSERT(!ws->in_hook);
    if (ws->options.confirm != MTWS_CONFIRM_PROGRAM) return MTWS_ERR_STATE;
    if (id == 0 || id >= ws->next_id) return MTWS_ERR_ARGUMENT;
    for (int i = 0; i < MTWS__SOURCES; i++) mtws__queue_confirm_id(&ws->queues[i], id);
    return MTWS_OK;
}

/* ---- handlers -------------------------------------------------------------------------------- */

MTWS_API mtws_result mtws_on_message(mtws_client *ws, const char *type,
                                     mtws_message_handler *handler, void *user) {
    MTWS_ASSERT(!ws->in_hook);
    if (type == NULL) {
        ws->other_handler = handler;
        ws->other_user = user;
        return MTWS_OK;
    }
    int i = 0;
    while (i < ws->handler_count && strcmp(ws->handlers[i].type, type) != 0) i++;
    if (handler == NULL) {
        if (i < ws->handler_count) ws->handlers[i] = ws->handlers[--ws->handler_count];
        return MTWS_OK;
    }
    size_t size = strlen(type);
    if (i == MTWS_HANDLERS_MAX || size > MTWS__TYPE_MAX) return MTWS_ERR_TOO_BIG;
    memcpy(ws->handlers[i].type, type, size + 1);
    ws->handlers[i].handler = handler;
    ws->handlers[i].user = user;
    if (i == ws->handler_count) ws->handler_count++;
    return MTWS_OK;
}

MTWS_API mtws_result mtws_on_state(mtws_client *ws, mtws_state_handler *handler, void *user) {
    MTWS_ASSERT(!ws->in_hook);
    ws->state_handler = handler;
    ws->state_user = user;
    return MTWS_OK;
}

/* A handler may destroy the client: nothing of it is touched afterwards. */
MTWS_API bool mtws_dispatch(mtws_client *ws, const mtws_event *event) {
    MTWS_ASSERT(!ws->in_hook);
    if (event->type == MTWS_EVENT_STATE && ws->state_handler != NULL) {
        ws->state_handler(ws, event, ws->state_user);
        return true;
    }
    if (event->type != MTWS_EVENT_MESSAGE) return false;
    mtws__span text, type;
    text.data = event->data;
    text.size = event->size;
    bool whole = event->kind == MTWS_TEXT && event->first && event->last;
    if (whole && ws->handler_count > 0 && mtws__json_member(text, "type", &type)) {
        for (int i = 0; i < ws->handler_count; i++) {
            if (!mtws__json_string_is(type, ws->handlers[i].type)) continue;
            ws->handlers[i].handler(ws, event, ws->handlers[i].user);
            return true;
        }
    }
    if (ws->other_handler == NULL) return false;
    ws->other_handler(ws, event, ws->other_user);
    return true;
}

/* ---- the network ---------------------------------------------------------------------------- */

MTWS_API mtws_result mtws_set_network(mtws_client *ws, bool online) {
    MTWS_ASSERT(!ws->in_hook);
    ws->manual_offline = !online;
    ws->network_changed = true;
    mtws__net_changed(&ws->net);
    return MTWS_OK;
}

/* ---- the header's own network --------------------------------------------------------------- */

typedef char mtws__check_way[sizeof(mtws__way) + MTWS__ALIGNMENT <= MTWS_NET_MEMORY_SIZE ? 1 : -1];

MTWS_API mtws_result mtws_net_transport(mtws_transport *out, void *memory, size_t size) {
    if (out == NULL) return MTWS_ERR_ARGUMENT;
    memset(out, 0, sizeof *out);
    if (memory == NULL) return MTWS_ERR_ARGUMENT;
    if (size < MTWS_NET_MEMORY_SIZE) return MTWS_ERR_MEMORY;
    mtws__way_start((mtws__way *)(void *)mtws__layout_base(memory), out);
    return MTWS_OK;
}

MTWS_API mtws_result mtws_net_set_proxy(mtws_transport *net, const char *proxy) {
    if (net == NULL || net->open != mtws__way_open) return MTWS_ERR_ARGUMENT;
    mtws__way *way = (mtws__way *)net->ctx;
    if (way->open) return MTWS_ERR_STATE;
    if (proxy == NULL) proxy = "";
    mtws_result result = mtws__proxy_check(proxy);
    if (result == MTWS_OK) mtws__way_set_proxy(way, proxy);
    return result;
}

MTWS_API const char *mtws_net_reason(const mtws_transport *net) {
    return mtws__way_reason((const mtws__way *)net->ctx);
}

MTWS_API void mtws_net_destroy(mtws_transport *net) {
    if (net == NULL || net->ctx == NULL) return;
    mtws__way_end((mtws__way *)net->ctx);
    memset(net, 0, sizeof *net);
}

/* ---- looking --------------------------------------------------------------------------------- */

MTWS_API mtws_state mtws_get_state(const mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    return ws->state;
}

MTWS_API void mtws_get_options(const mtws_client *ws, mtws_options *out) {
    MTWS_ASSERT(!ws->in_hook);
    *out = ws->options;
}

MTWS_API void mtws_get_stats(const mtws_client *ws, mtws_stats *out) {
    MTWS_ASSERT(!ws->in_hook);
    *out = ws->stats;
    for (int i = 0; i < MTWS__SOURCES; i++) {
        const mtws__queue *q = &ws->queues[i];
        out->resent += q->resent;
        out->queued_bytes += mtws__ring_used(&q->ring);
        out->queued_messages += mtws__queue_unsettled(q);
        out->unconfirmed_messages += mtws__queue_unconfirmed(q);
    }
}

MTWS_API const char *mtws_get_header(const mtws_client *ws, const char *name) {
    MTWS_ASSERT(!ws->in_hook);
    size_t at = 0;
    mtws__http answer;
    mtws__http_start(&answer, (char *)(uintptr_t)ws->answer, sizeof ws->answer);
    answer.fields_size = ws->answer_size;
    return name == NULL ? NULL : mtws__http_next(&answer, &at, name);
}

MTWS_API const char *mtws_get_subprotocol(const mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    return ws->subprotocol;
}

MTWS_API void *mtws_get_user_data(const mtws_client *ws) {
    MTWS_ASSERT(!ws->in_hook);
    return ws->options.user_data;
}

MTWS_API const char *mtws_result_text(int result) { return mtws__result_text(result); }

MTWS_API const char *mtws_state_name(mtws_state state) { return mtws__state_name(state); }

MTWS_API const char *mtws_version(void) { return MTWS__VERSION; }

#ifdef __cplusplus
}
#endif
#endif /* MTWS_IMPLEMENTATION */

/* Licence: take this file under either of two.
 *
 * MIT No Attribution. Permission is hereby granted, free of charge, to any person obtaining a copy
 * of this software and associated documentation files (the "Software"), to deal in the Software
 * without restriction, including without limitation the rights to use, copy, modify, merge,
 * publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to
 * whom the Software is furnished to do so. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF
 * ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
 * HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
 * TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
 * DEALINGS IN THE SOFTWARE.
 *
 * Public domain. The authors dedicate this file to the public domain, and waive all rights to it,
 * as far as the law allows.
 */
