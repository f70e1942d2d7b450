"""Two real hosts and the faults between them: see hosts.py for the hosts.

    run.py CLIENT SERVER [WORD]

runs every test whose name contains WORD, JOBS (from the environment, default 8) at a time, and
prints how long each loss took to be noticed and each return to be used. The last line is
"N passed, N failed". Needs root, ip(8) and nft(8).

Most tests are a fault in a phase of a connection, over IPv4 and IPv6. Each asserts that

  - a dead connection is noticed within the heartbeats' interval and timeout,
  - where it is certain that there is no network, waiting_for_network is entered, nothing is tried
    there, and it is left as soon as the network is back,
  - the client is connected again within its bound after the fault is healed,
  - all messages are in the server's ledger, first appearances in order; each is settled exactly
    once, and none before it is in the ledger,
  - the client does not spin, and leaks no descriptor.
"""

import collections
import concurrent.futures
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

import hosts
from hosts import now_ms

INTERVAL, TIMEOUT, CONNECT, CLOSE, INITIAL, MAX = 1000, 500, 2000, 1000, 1000, 1000  # ms
OPTIONS = {"interval": INTERVAL, "timeout": TIMEOUT, "connect": CONNECT, "close": CLOSE,
           "initial": INITIAL, "max": MAX}
SLACK = 500  # for a machine that does other things too
ONE_CONNECTION = 200
NOTICE = INTERVAL + TIMEOUT + SLACK
BACK = CONNECT + MAX + ONE_CONNECTION + SLACK
RETURN = ONE_CONNECTION + SLACK  # from waiting_for_network: nothing has to run out
# On a link that has just come up the first packet may be lost inside the system, and TCP or the
# search for the neighbour repeats it after a second.
REPEAT = 1000
# Linux tells of a lost carrier once a second at most; and once it is back, a search for the
# neighbour that began before can fail the first attempt within a second.
CARRIER_LAG = 1000
HOLD = 2500
TRICKLE, BURSTS = "rate 1 50", "rate 10 20"

ERR_RESOLVE, ERR_CONNECT, ERR_TIMEOUT, ERR_HEARTBEAT = -8, -9, -19, -20
ERR_RESET, ERR_OFFLINE = -22, -23


class Test:
    """One test's checks and measurements."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.wrong = []
        self.notes = []
        self.report = ""

    def check(self, holds, text, *values):
        if not holds:
            self.wrong.append(text % values if values else text)
        return bool(holds)

    def note(self, text, *values):
        self.notes.append(text % values)


# ---- faults --------------------------------------------------------------------------------------

def drop(pair, host):
    """What arrives at the host is lost, as if on the wire: no error reaches the sender."""
    pair.nft(host, 'table inet fault { chain c { type filter hook prerouting priority -300; '
                   'iifname "net0" drop; }; }')


def drop_both(pair):
    drop(pair, "c")
    drop(pair, "s")


def reset(pair, host):
    """What arrives at the host is answered with RST in its place, and lost."""
    port = "dport" if host == "s" else "sport"
    pair.nft(host, "table inet fault { chain c { type filter hook input priority 0; "
                   "tcp %s %d reject with tcp reset; }; }" % (port, hosts.PORT))


def pass_again(pair, *where):
    for host in where:
        pair.nft(host, "delete table inet fault")


def client_address(pair, add="replace", ip=None):
    f = pair.family
    return "address %s %s/%d dev net0%s" % (add, (ip or hosts.CLIENT_IP)[f], hosts.PREFIX[f],
                                            hosts.NODAD[f])


def default_route(pair):
    return "route replace default via " + hosts.GATEWAY_IP[pair.family]


def link_client_up(pair):
    pair.ip("c", "link set net0 up", client_address(pair), default_route(pair))


def link_server_up(pair):
    f = pair.family
    pair.ip("s", "link set net0 up", "address replace %s/%d dev net0%s"
            % (hosts.GATEWAY_IP[f], hosts.PREFIX[f], hosts.NODAD[f]))


def change_address(pair):
    pair.ip("c", client_address(pair, "add", hosts.OTHER_IP),
            "address delete %s/%d dev net0" % (hosts.CLIENT_IP[pair.family],
                                               hosts.PREFIX[pair.family]),
            client_address(pair, "replace", hosts.OTHER_IP), default_route(pair))


# offline: it is certain that there is no network. lag_ms: how much later the client's host hears of
# it. back_ms: how long after the healing the client may take to be connected. lost, refused: the
# result where an open connection, an attempt, meets it; 0: any.
Fault = collections.namedtuple("Fault", "name on off offline lag_ms back_ms lost refused")

FAULTS = [
    Fault("drop_out", lambda p: drop(p, "s"), lambda p: pass_again(p, "s"), False, 0, BACK,
          ERR_HEARTBEAT, ERR_TIMEOUT),
    Fault("drop_in", lambda p: drop(p, "c"), lambda p: pass_again(p, "c"), False, 0, BACK,
          ERR_HEARTBEAT, ERR_TIMEOUT),
    Fault("drop_both", drop_both, lambda p: pass_again(p, "c", "s"), False, 0, BACK,
          ERR_HEARTBEAT, ERR_TIMEOUT),
    Fault("reset_client", lambda p: reset(p, "s"), lambda p: pass_again(p, "s"), False, 0, BACK,
          ERR_RESET, ERR_CONNECT),
    Fault("reset_server", lambda p: reset(p, "c"), lambda p: pass_again(p, "c"), False, 0, BACK,
          ERR_HEARTBEAT, ERR_TIMEOUT),
    Fault("link_client", lambda p: p.ip("c", "link set net0 down"), link_client_up, True, 0,
          RETURN + REPEAT, 0, ERR_OFFLINE),
    Fault("link_server", lambda p: p.ip("s", "link set net0 down"), link_server_up, True,
          CARRIER_LAG, RETURN + REPEAT + CARRIER_LAG, 0, ERR_OFFLINE),
    Fault("route", lambda p: p.ip("c", "route del default"),
          lambda p: p.ip("c", default_route(p)), True, 0, RETURN, 0, ERR_OFFLINE),
    Fault("address", lambda p: p.ip("c", "address flush dev net0"), link_client_up, True, 0,
          RETURN + REPEAT, 0, ERR_OFFLINE),
]
LASTING = Fault("address_changed", change_address, None, False, 0, BACK, 0, 0)
BY_NAME = {fault.name: fault for fault in FAULTS}


# ---- what every test does ------------------------------------------------------------------------

def start(test, pair, url=None, **changes):
    """Server and client, connected."""
    pair.start_server()
    client = start_client(pair, url, **changes)
    test.check(client.wait_state("connected", 0, now_ms() + BACK), "did not connect at first")
    return client


def start_client(pair, url=None, **changes):
    options = dict(OPTIONS, loop=pair.family == 6)
    options.update(changes)
    return pair.start_client(options, url)


def check_ledger(test, pair):
    """Nothing is reported as delivered that the server does not have."""
    pair.client.read(0)
    settled = pair.client.settled
    received = len(set(pair.received()))
    test.check(settled <= received, "%d messages reported as delivered, %d in the ledger", settled,
               received)


def expect_back(test, client, since, healed, bound):
    back = client.wait_state("connected", since, healed + bound)
    if test.check(back, "not connected %d ms after the fault was healed", bound):
        test.note("back %d", max(0, back - healed))


def heal(test, pair, fault, leave=None):
    """Ends the fault, after leave(pair, fault) where there is more to end; where the network was
    gone, an attempt is made at once."""
    client = pair.client
    since = now_ms()
    if leave:
        leave(pair, fault)
    fault.off(pair)
    healed = now_ms()
    if fault.offline:
        left = client.wait_state("reconnecting", since, healed + SLACK)
        test.check(left, "no attempt %d ms after the network was back", SLACK)
    expect_back(test, client, since, healed, fault.back_ms)


def finish(test, pair):
    """The rest of the messages, and the accounts."""
    client = pair.client
    client.wait(lambda: client.sent, now_ms() + 5000)  # the connection may be quicker than the rate
    since = len(client.lines)
    client.command("finish")
    ended = client.wait(lambda: [1 for line in client.lines[since:] if line[1] == "end"],
                        now_ms() + 5000)
    if test.check(ended, "does not finish: %d sent, %d settled", client.sent, client.settled):
        client.process.wait(5)
        test.check(client.process.returncode == 0, "exit status %d", client.process.returncode)
    first = list(dict.fromkeys(pair.received()))
    test.check(client.sent > 0, "no message was sent")
    test.check(client.settled == client.sent, "%d sent, %d settled", client.sent, client.settled)
    test.check(first == list(range(1, client.sent + 1)),
               "the ledger's first appearances are not 1 to %d in order: %d, from %s to %s",
               client.sent, len(first), first[:1], first[-1:])


class Watch:
    """From the fault to its healing, the client does not spin."""

    def __init__(self, test, client):
        self.test, self.client = test, client
        self.at, self.cpu = now_ms(), client.cpu_ms()

    def end(self):
        spent, passed = self.client.cpu_ms() - self.cpu, now_ms() - self.at
        self.test.check(spent <= 150 + passed // 20, "%d ms of processor time in %d ms", spent,
                        passed)


# ---- a fault in a phase --------------------------------------------------------------------------

BLOCK = ("table inet block { chain c { type filter hook prerouting priority -300; "
         "tcp dport %d drop; }; }" % hosts.PORT)


def enter_idle(test, pair, fault):
    client = start(test, pair)
    client.command(TRICKLE)
    client.pause(200)
    client.command("rate 0 0")
    client.pause(150 + test.number * 97 % INTERVAL)  # anywhere between two heartbeats


def enter_burst(test, pair, fault):
    client = start(test, pair)
    client.command(BURSTS)
    client.pause(300 + test.number * 97 % INTERVAL)


def enter_connecting(test, pair, fault):
    """No answer to SYN: from a block, where the fault is to come while the attempt runs."""
    pair.start_server()
    if fault.offline or fault is LASTING:
        pair.nft("s", BLOCK)
    else:
        fault.on(pair)
    start_client(pair).command(TRICKLE)
    pair.client.pause(500)


def leave_connecting(pair, fault):
    if fault.offline or fault is LASTING:
        pair.nft("s", "delete table inet block")


def enter_upgrade(test, pair, fault):
    """The server's system takes the connection, the server itself does not answer."""
    pair.start_server()
    pair.signal_server(signal.SIGSTOP)
    start_client(pair).command(TRICKLE)
    pair.client.pause(400)


def enter_reconnecting(test, pair, fault):
    client = start(test, pair)
    client.command(TRICKLE)
    client.pause(300)
    pair.kill_server()
    client.pause(200 + test.number * 97 % INTERVAL)
    test.check(client.state == "reconnecting", "without a server the state is %s", client.state)


PHASES = {
    "idle": (enter_idle, lambda pair, fault: None),
    "burst": (enter_burst, lambda pair, fault: None),
    "connecting": (enter_connecting, leave_connecting),
    "upgrade": (enter_upgrade, lambda pair, fault: pair.signal_server(signal.SIGCONT)),
    "reconnecting": (enter_reconnecting, lambda pair, fault: pair.start_server()),
}


def apply(pair, fault, phase):
    """When the fault began and when it was complete."""
    before = now_ms()
    if phase == "connecting" and not fault.offline and fault is not LASTING:
        return pair.client.states[0][0], before  # it was there before the client
    fault.on(pair)
    return before, now_ms()


def expect_lost(test, client, fault, phase, began, done):
    """The open connection, or the attempt, ends in time and for the right reason."""
    opened = phase in ("idle", "burst")
    first = client.states[0][0]
    limit = done + NOTICE if opened else max(done, first + CONNECT) + SLACK
    lost = client.wait_state("error", began, limit)
    if not test.check(lost, "not noticed %d ms after the fault", limit - done):
        return
    test.note("noticed %d", lost - done)
    result = [state[3] for state in client.states if state[0] >= began and state[1] == "error"][0]
    expected = fault.lost if opened else fault.refused
    if phase == "upgrade" and not fault.offline:
        expected = ERR_TIMEOUT  # the server is stopped, whatever else is wrong
    test.check(expected in (0, result), "the result is %d, expected %d", result, expected)


def expect_waiting(test, client, fault, phase, began, done):
    """waiting_for_network is entered; netlink tells, so an attempt that runs does not delay it."""
    limit = done + fault.lag_ms + (NOTICE if phase in ("idle", "burst") else SLACK)
    waiting = client.wait_state("waiting_for_network", began, limit)
    if test.check(waiting, "waiting_for_network not entered after %d ms", limit - done):
        test.note("waiting %d", waiting - done)


def run_phase(test, pair, fault, phase):  # FAULTS rows 38 and 39
    enter, leave = PHASES[phase]
    enter(test, pair, fault)
    client = pair.client
    descriptors = client.descriptors()
    began, done = apply(pair, fault, phase)
    watch = Watch(test, client)
    if phase != "reconnecting":
        expect_lost(test, client, fault, phase, began, done)
    if phase == "idle":
        client.command(TRICKLE)
    if fault.offline:
        expect_waiting(test, client, fault, phase, began, done)
    client.pause(done + HOLD + test.number * 131 % 700 - now_ms())
    test.check(client.find("connected", began) is None, "connected in spite of the fault")
    watch.end()
    check_ledger(test, pair)
    if fault.offline:
        test.check(client.state == "waiting_for_network", "offline, the state is %s", client.state)
    heal(test, pair, fault, leave)
    if phase in ("idle", "burst"):
        client.pause(100)
        now = client.descriptors()
        test.check(now <= descriptors, "%d descriptors, %d before", now, descriptors)
    finish(test, pair)


def run_lasting(test, pair, phase):  # FAULTS row 38
    """The address changes: nothing to heal, only the connection is dead."""
    enter, leave = PHASES[phase]
    enter(test, pair, LASTING)
    client = pair.client
    began, done = apply(pair, LASTING, phase)
    bound = BACK
    if phase in ("idle", "burst"):
        expect_lost(test, client, LASTING, phase, began, done)
        bound += INTERVAL + TIMEOUT
    leave(pair, LASTING)
    expect_back(test, client, began, max(done, now_ms() if bound == BACK else 0), bound)
    client.command(TRICKLE)
    client.pause(200)
    finish(test, pair)


# ---- tests of their own --------------------------------------------------------------------------

def peer_stopped(test, pair, bursts):
    """FAULTS row 39: the server is stopped, its system still acknowledges, right after a Pong."""
    timeout = 1000  # long enough to tell once from twice
    client = start(test, pair, timeout=timeout)
    client.command(TRICKLE)
    client.pause(300)
    client.command(BURSTS if bursts else "rate 0 0")
    client.pause(500 if bursts else 0)
    settled = client.settled
    client.wait(lambda: client.settled > settled, now_ms() + 300)
    pair.signal_server(signal.SIGSTOP)
    began = now_ms()
    watch = Watch(test, client)
    limit = INTERVAL + timeout + SLACK
    lost = client.wait_state("error", began, began + limit)
    if test.check(lost, "not noticed within %d ms", limit):
        test.note("noticed %d", lost - began)
    client.command(TRICKLE)
    client.pause(500)
    watch.end()
    since = now_ms()
    pair.signal_server(signal.SIGCONT)
    expect_back(test, client, since, now_ms(), BACK)
    check_ledger(test, pair)
    finish(test, pair)


def peer_killed(test, pair):
    """FAULTS row 43: the server dies with our bytes in its kernel, three times."""
    client = start(test, pair)
    client.command("rate 20 10")
    for turn in range(3):
        client.pause(300)
        pair.signal_server(signal.SIGSTOP)
        client.pause(100 + 50 * turn)
        began = now_ms()
        pair.kill_server()
        check_ledger(test, pair)
        pair.start_server()
        expect_back(test, client, began, now_ms(), BACK)
        check_ledger(test, pair)
    finish(test, pair)


def short_loss(test, pair, fault):
    """What is over before the heartbeat's timeout costs no connection."""
    client = start(test, pair, timeout=2500)
    client.command("rate 2 20")
    client.pause(300)
    seen = len(client.states)
    fault.on(pair)
    client.pause(200)
    fault.off(pair)
    client.pause(4000)
    later = [state[1] for state in client.states[seen:]]
    test.check(later == [], "the connection was not kept: %s", later)
    finish(test, pair)


def address_scoped(test, pair):
    """The link-local address that stays is a way to the server: it is found."""
    pair.ip("c", "address add fe80::2/64 dev net0 nodad")
    client = start(test, pair)
    client.command(TRICKLE)
    client.pause(300)
    began = now_ms()
    pair.ip("c", "address delete %s/%d dev net0" % (hosts.CLIENT_IP[6], hosts.PREFIX[6]))
    done = now_ms()
    lost = client.wait_state("error", began, done + NOTICE)
    test.check(lost, "not noticed")
    expect_back(test, client, began, done + NOTICE, BACK)
    test.check(client.find("waiting_for_network", 0) is None, "waited for a network")
    finish(test, pair)


def probe(test, pair, fault):
    """A network change asks the peer at once, however long the interval is."""
    client = start(test, pair, interval=30000)
    client.command(TRICKLE)
    client.pause(300)
    client.command("rate 0 0")
    client.pause(300)
    began = now_ms()
    fault.on(pair)
    done = now_ms()
    limit = TIMEOUT + fault.lag_ms + SLACK
    lost = client.wait_state("error", began, done + limit)
    if test.check(lost, "not noticed within %d ms of a network change", limit):
        test.note("noticed %d", lost - done)
    client.command(TRICKLE)
    if fault.offline:
        client.wait_state("waiting_for_network", began, done + limit + CARRIER_LAG)
        client.pause(300)
        heal(test, pair, fault)
    else:
        expect_back(test, client, began, now_ms(), BACK)
    finish(test, pair)


def probe_answered(test, pair):
    """A change that breaks nothing closes nothing."""
    client = start(test, pair, interval=30000)
    client.command(TRICKLE)
    seen = len(client.states)
    f = pair.family
    for _ in range(5):
        pair.ip("c", client_address(pair, "add", hosts.OTHER_IP))
        client.pause(200)
        pair.ip("c", "address delete %s/%d dev net0" % (hosts.OTHER_IP[f], hosts.PREFIX[f]))
        client.pause(200)
    client.pause(TIMEOUT + SLACK)
    later = [state[1] for state in client.states[seen:]]
    test.check(later == [], "the connection was not kept: %s", later)
    finish(test, pair)


def loopback(test, pair):
    """A server on the client's own host needs no network."""
    address = hosts.LOOPBACK_IP[pair.family]
    pair.ip("c", "link set net0 down")
    pair.start_server("c", address)
    client = start_client(pair, pair.url(address))
    client.command(TRICKLE)
    expect_back(test, client, 0, now_ms(), RETURN)
    pair.kill_server()
    client.pause(1500)
    pair.ip("c", "link set net0 up")
    client.pause(200)
    pair.ip("c", "link set net0 down")
    client.pause(300)
    test.check(client.state in ("reconnecting", "error"), "the state is %s", client.state)
    began = now_ms()
    pair.start_server("c", address)
    expect_back(test, client, began, now_ms(), BACK)
    test.check(client.find("waiting_for_network", 0) is None, "waited for a network")
    finish(test, pair)


def offline_at_first(test, pair, fault):
    """There is no network when the program starts."""
    pair.start_server()
    fault.on(pair)
    client = start_client(pair)
    client.command(TRICKLE)
    began = now_ms()
    limit = CONNECT + SLACK  # the system may let an attempt begin all the same
    waiting = client.wait_state("waiting_for_network", 0, began + limit)
    if test.check(waiting, "waiting_for_network not entered after %d ms", limit):
        test.note("waiting %d", waiting - began)
    client.pause(1500)
    heal(test, pair, fault)
    finish(test, pair)


def manual(test, pair):
    """MTWS_NETWORK_MANUAL: the system's word does not count, the program's does."""
    client = start(test, pair, manual=1)
    client.command(TRICKLE)
    client.pause(200)
    began = now_ms()
    client.command("network 0")
    client.pause(TIMEOUT + SLACK)
    test.check(client.find("error", began) is None, "closed by mtws_set_network")
    client.command("network 1")
    BY_NAME["link_client"].on(pair)
    client.wait_state("reconnecting", began, now_ms() + NOTICE)
    client.pause(700)
    test.check(client.find("waiting_for_network", 0) is None, "asked the system")
    client.command("network 0")
    test.check(client.wait_state("waiting_for_network", began, now_ms() + SLACK),
               "did not believe that the network is down")
    BY_NAME["link_client"].off(pair)
    client.pause(1500)
    test.check(client.state == "waiting_for_network", "did not wait: %s", client.state)
    since = now_ms()
    client.command("network 1")
    expect_back(test, client, since, now_ms(), RETURN)
    finish(test, pair)


def attempts(test, pair):
    """Time without a network uses up no attempt; and what failed stays failed."""
    client = start(test, pair, attempts=2)
    client.command(TRICKLE)
    client.pause(100)
    fault = BY_NAME["route"]
    pair.nft("s", BLOCK)
    client.wait_state("reconnecting", 0, now_ms() + NOTICE)
    for _ in range(5):  # the network goes in the midst of an attempt that gets no answer
        client.pause(MAX + 100)
        fault.on(pair)
        client.wait(lambda: client.state == "waiting_for_network", now_ms() + SLACK)
        test.check(client.state == "waiting_for_network", "offline, the state is %s", client.state)
        fault.off(pair)
    since = now_ms()
    pair.nft("s", "delete table inet block")
    expect_back(test, client, since, now_ms(), BACK)
    pair.kill_server()
    failed = client.wait_state("failed", 0, now_ms() + 2 * (MAX + SLACK))
    test.check(failed, "two attempts, and not failed")
    pair.start_server()
    for name in ("link_client", "route"):
        BY_NAME[name].on(pair)
        client.pause(300)
        BY_NAME[name].off(pair)
        client.pause(700)
    test.check(client.state == "failed", "left failed for %s", client.state)
    since = now_ms()
    client.command("retry")
    expect_back(test, client, since, now_ms(), RETURN)
    finish(test, pair)


def close_unanswered(test, pair, cut):
    """FAULTS row 40: no answer to our Close."""
    client = start(test, pair)
    client.command(TRICKLE)
    client.pause(300)
    client.command("rate 0 0")
    client.pause(300)
    if cut:
        drop_both(pair)
    else:
        pair.signal_server(signal.SIGSTOP)
    began = now_ms()
    client.command("disconnect")
    done = client.wait_state("disconnected", began, began + CLOSE + SLACK)
    if test.check(done, "not disconnected %d ms after mtws_disconnect", CLOSE + SLACK):
        test.note("gone %d", done - began)
    client.process.wait(5)
    test.check(client.process.returncode == 0, "exit status %d", client.process.returncode)
    check_ledger(test, pair)


# How a host is made not to let a connection be made, and what the client's reason then says.
REFUSALS = {
    "refused": (lambda p: p.kill_server(), lambda p: p.start_server(), "connection refused"),
    "unreachable": (lambda p: p.ip("c", "route replace unreachable default"),
                    lambda p: p.ip("c", "route del unreachable default", default_route(p)),
                    "no route to host"),
    "prohibited": (lambda p: p.ip("c", "route replace prohibit default"),
                   lambda p: p.ip("c", "route del prohibit default", default_route(p)),
                   "not permitted (firewall?)"),
    "icmp": (lambda p: p.nft("s", "table inet fault { chain c { type filter hook input priority 0; "
                             "tcp dport %d reject with icmpx host-unreachable; }; }" % hosts.PORT),
             lambda p: pass_again(p, "s"), "no route to host"),
}


def refusal(test, pair, name):
    """connect() fails with one errno or another: its text is the reason, and it is tried again."""
    on, off, reason = REFUSALS[name]
    pair.start_server()
    on(pair)
    client = start_client(pair)
    client.command(TRICKLE)
    error = client.wait_state("error", 0, now_ms() + CONNECT)
    if test.check(error, "no error"):
        _, _, _, result, text = [state for state in client.states if state[1] == "error"][0]
        test.check(result == ERR_CONNECT and text.endswith(reason), "result %d: %s", result, text)
    client.pause(2000)
    test.check(client.state in ("reconnecting", "error"), "the state is %s", client.state)
    tries = len([1 for state in client.states if state[1] == "error"])
    test.check(tries <= 2000 // 250 + 2, "%d attempts in 2 s", tries)
    since = now_ms()
    off(pair)
    expect_back(test, client, since, now_ms(), BACK)
    finish(test, pair)


def next_address(test, pair, kind):
    """FAULTS row 50: a name with two addresses, of which the first does not answer."""
    f = pair.family
    first = {"refused": hosts.GATEWAY_IP, "absent": hosts.ABSENT_IP,
             "silent": hosts.GATEWAY_IP}[kind][f]
    pair.set_names("%s twofold\n%s twofold\n" % (first, hosts.SERVER_IP[f]))
    if kind == "silent":
        pair.nft("s", "table inet block { chain c { type filter hook prerouting priority -300; "
                      "%s daddr %s tcp dport %d drop; }; }"
                 % ("ip" if f == 4 else "ip6", first, hosts.PORT))
    pair.start_server()
    client = start_client(pair, pair.url("twofold"))
    began = client.states[0][0]
    client.command(TRICKLE)
    # An address that does not answer costs the 250 ms after which the next one is tried beside it.
    expect_back(test, client, 0, began, RETURN if kind == "refused" else 250 + RETURN)
    errors = [state for state in client.states if state[1] == "error"]
    test.check(len(errors) == 0, "%d attempts failed", len(errors))
    finish(test, pair)


# ---- names ---------------------------------------------------------------------------------------

def resolv_conf(pair, *lines):
    pair.set_names("".join(line + "\n" for line in lines), "resolv.conf")


def note_polls(test, client):
    """How long calls that do not wait took: printed, not judged."""
    polls = [line[2].split()[2:] for line in client.lines if line[1] == "polls"]
    if polls:
        test.note("%s polls, at most %s us by the clock, %s us of processor time" % tuple(polls[-1]))


def start_names(pair, *servers):
    """Name servers at addresses of the server's host; what resolv.conf says of them."""
    for address in servers:
        if address not in (hosts.GATEWAY_IP[pair.family], hosts.SERVER_IP[pair.family]):
            pair.ip("s", "address add %s/%d dev lo%s" % (address, hosts.HOST_PREFIX[pair.family],
                                                         hosts.NODAD[pair.family]))
    pair.start_names(*servers)
    resolv_conf(pair, *["nameserver " + address for address in servers])


def three_servers(pair):
    f = pair.family
    return ["10.99.0.%d" % n if f == 4 else "fd00:99::%d" % n for n in (11, 12, 13)]


def tell_address(pair, name="h.example"):
    f = pair.family
    pair.names_say("%s %s %s" % ("a" if f == 4 else "aaaa", name, hosts.SERVER_IP[f]))


def names_dead(test, pair):
    """FAULTS row 66: three name servers that are black holes. No call waits for them, the attempts
    fail on schedule, and one that answers again is used."""
    servers = three_servers(pair)
    start_names(pair, *servers)
    tell_address(pair)
    for address in servers:
        pair.names_say("habit %s silent" % address)
    pair.start_server()
    client = start_client(pair, pair.url("h.example"), loop=2, connect=20000, attempts=0)
    client.command(TRICKLE)
    began = client.states[0][0]
    watch = Watch(test, client)
    failed = client.wait_state("error", 0, began + 12000 + SLACK)
    if test.check(failed, "no error after three servers, two rounds, two seconds each"):
        test.note("failed after %d", failed - began)
        test.check(failed - began >= 11900, "failed after %d ms already", failed - began)
        state = [state for state in client.states if state[1] == "error"][0]
        test.check(state[3] == ERR_RESOLVE and state[4].endswith("no name server answered"),
                   "result %d: %s", state[3], state[4])
    watch.end()
    since = now_ms()
    for address in servers:
        pair.names_say("habit %s" % address)
    expect_back(test, client, since, now_ms(), 3000 + BACK)
    finish(test, pair)
    note_polls(test, client)


def names_timeout(test, pair):
    """The connect timeout counts while name servers are silent."""
    servers = three_servers(pair)
    start_names(pair, *servers)
    for address in servers:
        pair.names_say("habit %s silent" % address)
    client = start_client(pair, pair.url("h.example"), loop=2)
    began = client.states[0][0]
    failed = client.wait_state("error", 0, began + CONNECT + SLACK)
    if test.check(failed, "no error after the connect timeout"):
        state = [state for state in client.states if state[1] == "error"][0]
        test.check(state[3] == ERR_TIMEOUT and "name server" in state[4], "result %d: %s", state[3],
                   state[4])
    client.command("disconnect")
    client.wait(lambda: client.lines[-1][1] == "end", now_ms() + SLACK)
    note_polls(test, client)


# What name servers do, what the two of them then cost (at most so many ms), and how many questions.
HABITS = {
    "good": ("", "", 0, 2),
    "first_silent": ("silent", "", 2000, 4),
    "first_fails": ("servfail", "", 0, 4),
    "first_refuses": ("refused", "", 0, 4),
    "forged": ("forge", "", 0, 2),
    "truncated": ("truncate", "", 0, 4),
    "plain": ("plain", "", 0, 6),
    "slow": ("slow=700", "", 700, 2),
    "small": ("small", "small", 4000, 6),
}


def names_habit(test, pair, name):
    """FAULTS rows 67 and 69: forged, truncated, failing and silent ones; connected all the same."""
    first, second, late, most = HABITS[name]
    servers = three_servers(pair)[:2]
    start_names(pair, *servers)
    tell_address(pair)
    pair.names_say("habit %s %s" % (servers[0], first), "habit %s %s" % (servers[1], second))
    pair.start_server()
    client = start_client(pair, pair.url("h.example"), connect=20000)
    client.command(TRICKLE)
    began = client.states[0][0]
    back = client.wait_state("connected", 0, began + late + RETURN)
    if test.check(back, "not connected after %d ms", late + RETURN):
        test.note("connected after %d", back - began)
        test.check(back - began >= late - 100, "connected after %d ms already", back - began)
    asked = pair.questions()
    test.check(2 <= asked <= most, "%d questions", asked)
    finish(test, pair)


# What the name leads to; None: connected, else what the reason ends with.
CHAINS = {
    "alias": (["cname h.example w.example"], "w.example", None),
    "chain": (["cname h.example n1.example"]
              + ["cname n%d.example n%d.example" % (i, i + 1) for i in range(1, 8)], "n8.example",
              None),
    "too_long": (["cname h.example n1.example"]
                 + ["cname n%d.example n%d.example" % (i, i + 1) for i in range(1, 9)], "n9.example",
                 "could not resolve it"),
    "circle": (["cname h.example n1.example", "cname n1.example h.example"], None,
               "could not resolve it"),
    "no_name": ([], None, "there is no such name"),
    "no_data": (["a h.example", "aaaa h.example"], None, "the name has no address"),
}


def names_chain(test, pair, name):
    """FAULTS row 69: aliases, circles of them, names without addresses, no names."""
    lines, last, reason = CHAINS[name]
    servers = three_servers(pair)[:1]
    start_names(pair, *servers)
    pair.names_say("ttl 1", *lines)
    if last:
        tell_address(pair, last)
    pair.start_server()
    client = start_client(pair, pair.url("h.example"), initial=300, max=300)
    client.command(TRICKLE)
    if reason is None:
        expect_back(test, client, 0, client.states[0][0], RETURN)
        finish(test, pair)
        return
    error = client.wait_state("error", 0, now_ms() + RETURN)
    if test.check(error, "no error"):
        state = [state for state in client.states if state[1] == "error"][0]
        test.check(state[3] == ERR_RESOLVE and state[4].endswith(reason), "result %d: %s", state[3],
                   state[4])
    # Many attempts are not as many questions; and what is mended is used within seconds.
    client.pause(2000)
    test.check(pair.questions() <= 2 or name in ("circle", "too_long"), "%d questions in 2 s",
               pair.questions())
    pair.names_say("cname h.example w.example")
    tell_address(pair, "w.example")
    since = now_ms()
    expect_back(test, client, since, since, 5000 + BACK)
    finish(test, pair)


def names_move(test, pair):
    """The name leads elsewhere from one connection to the next."""
    servers = three_servers(pair)[:1]
    start_names(pair, *servers)
    pair.names_say("ttl 3600")
    tell_address(pair)
    client = start(test, pair, url=pair.url("h.example"))
    client.command(TRICKLE)
    client.pause(300)
    f = pair.family
    pair.kill_server()
    began = now_ms()
    pair.names_say("a h.example %s" % hosts.GATEWAY_IP[f] if f == 4 else
                   "aaaa h.example %s" % hosts.GATEWAY_IP[f])
    pair.start_server(address=hosts.GATEWAY_IP[f])
    # The old address is refused, is doubted, and five seconds after it was asked for asked again.
    expect_back(test, client, began, now_ms(), 5000 + BACK)
    finish(test, pair)


def names_stale(test, pair):
    """RFC 8767: all name servers are gone when the connection is lost."""
    servers = three_servers(pair)[:1]
    start_names(pair, *servers)
    pair.names_say("ttl 1")
    tell_address(pair)
    client = start(test, pair, url=pair.url("h.example"), connect=20000)
    client.command(TRICKLE)
    client.pause(5500)
    pair.names_say("habit %s silent" % servers[0])
    pair.kill_server()
    began = now_ms()
    pair.start_server()
    expect_back(test, client, began, now_ms(), 2000 + MAX + RETURN)
    test.check(pair.questions() == 4, "%d questions", pair.questions())
    finish(test, pair)


def names_search(test, pair):
    """resolv.conf says where to search, changes, and its name server has a zone."""
    f = pair.family
    server = hosts.GATEWAY_IP[f]
    if f == 6:
        pair.ip("s", "address add fe80::53/64 dev net0 nodad")
        pair.ip("c", "address add fe80::2/64 dev net0 nodad")
        server = "fe80::53%net0"
    pair.start_names(server)
    tell_address(pair, "h.two.example")
    resolv_conf(pair, "nameserver " + server, "search one.example")
    pair.start_server()
    client = start_client(pair, pair.url("h"))
    client.command(TRICKLE)
    error = client.wait_state("error", 0, now_ms() + RETURN)
    test.check(error, "found without the right domain")
    resolv_conf(pair, "nameserver " + server, "search two.example one.example")
    since = now_ms()
    expect_back(test, client, since, since, 5000 + BACK)
    finish(test, pair)


def both_families(test, pair, **changes):
    """A pair with addresses of both families, a name that has both, a server at both."""
    pair.add_family(6)
    start_names(pair, hosts.GATEWAY_IP[4])
    pair.names_say("ttl 3600", "a h.example " + hosts.SERVER_IP[4],
                   "aaaa h.example " + hosts.SERVER_IP[6])
    pair.start_server(address="::")
    return start_client(pair, pair.url("h.example"), **changes)


DROP_6 = ("table ip6 lost { chain c { type filter hook prerouting priority -300; iifname \"net0\" "
          "drop; }; }")


def way_of(client):
    """The family of the client's connection to the server."""
    for family, file in ((4, "tcp"), (6, "tcp6")):
        with open("/proc/%d/net/%s" % (client.process.pid, file)) as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[3] == "01" and int(fields[2].rsplit(":", 1)[1], 16) == hosts.PORT:
                    return family
    return None


def two_ways(test, pair, lost):
    """FAULTS row 70: the way by IPv6 is lost, silently; the next connection takes the other one,
    and the one after that begins with it."""
    # Between half a second and a whole one: by then a server that was killed is back.
    client = both_families(test, pair, initial=1000, max=1000)
    client.command(TRICKLE)
    test.check(client.wait_state("connected", 0, now_ms() + RETURN), "did not connect at first")
    client.pause(300)
    test.check(way_of(client) == 6, "the first connection is not by IPv6")
    delays = []
    for turn in range(3):
        if lost and turn == 0:
            pair.nft("s", DROP_6)
        began = now_ms()
        if not lost or turn > 0:
            pair.kill_server()
            pair.start_server(address="::")
        error = client.wait_state("error", began, began + NOTICE)
        back = client.wait_state("connected", began, began + NOTICE + BACK)
        if not test.check(error and back, "not back in turn %d", turn):
            return
        told = [line[2].split() for line in client.lines
                if line[0] >= error and line[1] == "state" and " reconnecting error " in line[2]]
        # Less the delay that it announced.
        delays.append(back - error - int(told[0][5]) - hosts.stalls.since(error))
        client.pause(300)
    test.note("%s ms from the attempt to the connection", ", ".join(map(str, delays)))
    limit = 300 if lost else 0
    test.check(delays[0] <= limit + 100, "the first took %d ms", delays[0])
    test.check(max(delays[1:]) <= 100, "later ones took %s ms", delays[1:])
    test.check(way_of(client) == (4 if lost else 6), "the last connection is by IPv%s",
               way_of(client))
    finish(test, pair)


def six_from_the_start(test, pair, kind):
    """IPv6 that leads nowhere when the program starts."""
    pair.add_family(6)
    if kind == "silent":
        pair.nft("s", DROP_6)
    elif kind == "no_route":
        pair.family = 6
        pair.ip("c", "route del default")
        pair.family = 4
    start_names(pair, hosts.GATEWAY_IP[4])
    pair.names_say("a h.example " + hosts.SERVER_IP[4], "aaaa h.example " + hosts.SERVER_IP[6])
    if kind == "deaf":
        pair.names_say("habit %s deaf6" % hosts.GATEWAY_IP[4])
    pair.start_server()
    client = start_client(pair, pair.url("h.example"))
    client.command(TRICKLE)
    began = client.states[0][0]
    back = client.wait_state("connected", 0, began + RETURN)
    if test.check(back, "not connected"):
        test.note("connected after %d", back - began)
        extra = {"silent": 250, "no_route": 0, "refused": 0, "deaf": 50}[kind]
        extra += hosts.stalls.since(began)
        test.check(back - began <= extra + 200, "connected after %d ms", back - began)
    finish(test, pair)


def real_server(test, pair):
    """dnsmasq answers: an address, an alias, an answer too large for a datagram, a name that there
    is not."""
    f = pair.family
    many = ["10.77.0.%d" % i if f == 4 else "fd00:77::%x" % i for i in range(1, 120)]
    lines = ["%s many.example" % ip for ip in many]
    lines += ["%s h.example" % hosts.SERVER_IP[f]]
    path = os.path.join(pair.directory, "dnsmasq.hosts")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    address = hosts.GATEWAY_IP[f]
    server = subprocess.Popen(
        pair.inside("s") + ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts",
                            "--no-resolv", "--user=root", "--pid-file", "--bind-interfaces",
                            "--listen-address=" + address, "--addn-hosts=" + path,
                            "--cname=w.example,h.example", "--local=/example/"],
        stdin=subprocess.DEVNULL, stdout=pair.log, stderr=pair.log)
    try:
        resolv_conf(pair, "nameserver " + address)
        pair.start_server()
        client = start_client(pair, pair.url("w.example"))
        client.command(TRICKLE)
        expect_back(test, client, 0, client.states[0][0], 2000 + RETURN)  # it may start later
        finish(test, pair)
        client.close()
        for name, result in (("many.example", ERR_TIMEOUT), ("none.example", ERR_RESOLVE)):
            client = start_client(pair, pair.url(name), connect=1000)
            client.wait_state("error", 0, now_ms() + 1000 + SLACK)
            errors = [state[3] for state in client.states if state[1] == "error"]
            test.check(errors[:1] == [result] or (result == ERR_TIMEOUT and errors[:1] == [ERR_CONNECT]),
                       "%s: results %s", name, errors)
            client.close()
    finally:
        server.kill()
        server.wait()


def storm(test, pair, seed):
    """One fault after the other, at any moment, some before the last one's client is back."""
    chance = random.Random(seed)
    client = start(test, pair)
    client.command("rate 5 20")
    for _ in range(9):
        client.pause(chance.randint(50, 900))
        fault = chance.choice(FAULTS)
        fault.on(pair)
        client.pause(chance.randint(20, 1200))
        fault.off(pair)
        healed = now_ms()
        check_ledger(test, pair)
        test.note("%s", fault.name)
    # The connection may have outlived the last fault, or be dead without having noticed yet.
    client.pause(healed + NOTICE - now_ms())
    client.wait(lambda: client.state == "connected", healed + NOTICE + BACK)
    test.check(client.state == "connected", "not back, the state is %s", client.state)
    finish(test, pair)


# ---- running -------------------------------------------------------------------------------------

def all_tests():
    """(name, family, function of test and pair)"""
    def each(name, function, *values):
        for family in (4, 6):
            yield ("%s IPv%d" % (name, family), family,
                   lambda test, pair: function(test, pair, *values))

    for seed in (1, 2):
        yield from each("storm %d" % seed, storm, seed)
    yield from each("attempts", attempts)
    for fault in FAULTS:
        for phase in PHASES:
            yield from each("%s %s" % (fault.name, phase), run_phase, fault, phase)
    for phase in PHASES:
        yield from each("%s %s" % (LASTING.name, phase), run_lasting, phase)
    for fault in FAULTS:
        if fault.offline:
            yield from each("offline_at_first " + fault.name, offline_at_first, fault)
            yield from each("probe " + fault.name, probe, fault)
            yield from each("short_loss " + fault.name, short_loss, fault)
    yield from each("probe " + LASTING.name, probe, LASTING)
    yield ("address_scoped IPv6", 6, address_scoped)
    yield from each("probe_answered", probe_answered)
    for name in ("drop_out", "drop_in", "drop_both"):
        yield from each("short_loss " + name, short_loss, BY_NAME[name])
    yield from each("peer_stopped idle", peer_stopped, False)
    yield from each("peer_stopped burst", peer_stopped, True)
    yield from each("peer_killed", peer_killed)
    yield from each("loopback", loopback)
    yield from each("manual", manual)
    yield from each("close_unanswered stopped", close_unanswered, False)
    yield from each("close_unanswered cut", close_unanswered, True)
    for name in REFUSALS:
        yield from each("refusal " + name, refusal, name)
    for kind in ("refused", "absent", "silent"):
        yield from each("next_address " + kind, next_address, kind)
    yield from each("names_dead", names_dead)
    yield from each("names_timeout", names_timeout)
    for name in HABITS:
        yield from each("names_habit " + name, names_habit, name)
    for name in CHAINS:
        yield from each("names_chain " + name, names_chain, name)
    yield from each("names_move", names_move)
    yield from each("names_stale", names_stale)
    yield from each("names_search", names_search)
    yield from each("names_real", real_server)
    for lost in (True, False):
        yield ("two_ways %s" % ("lost" if lost else "kept"), 4,
               lambda test, pair, lost=lost: two_ways(test, pair, lost))
    for kind in ("silent", "no_route", "refused", "deaf"):
        yield ("six_from_the_start " + kind, 4,
               lambda test, pair, kind=kind: six_from_the_start(test, pair, kind))


def tell(pair):
    """What happened in a test that failed."""
    lines = []
    if pair.client:
        told = [(at, line) for at, kind, line in pair.client.lines
                if kind not in ("sent", "delivered")]
        told += [(at, "%d > %s" % (at, text)) for at, text in pair.client.commands]
        told.sort(key=lambda entry: entry[0])
        lines += ["    " + line for _, line in told[-60:]]
    pair.log.flush()
    with open(pair.log_path, errors="replace") as file:
        lines += ["    | " + line.rstrip() for line in file.readlines()[-40:]]
    return "\n".join(lines)


def run_one(number, name, family, function, directory, programs):
    test = Test(name, number)
    if hosts.stopping.is_set():
        test.wrong.append("not run")
        return test
    pair = hosts.Pair(number, family, directory, programs)
    try:
        pair.open()
        function(test, pair)
    except hosts.Stopped:
        test.wrong.append("interrupted")
    except Exception as error:  # a tool that fails, a client that has died: this test's failure
        test.wrong.append("%s: %s" % (type(error).__name__, error))
    finally:
        if pair.client:
            test.wrong += pair.client.wrong[:5]
        if test.wrong:
            test.report = tell(pair)
        pair.close()
    return test


def missing():
    """What this machine lacks, or None."""
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("dnsmasq", "dnsmasq-base")):
        if shutil.which(tool) is None:
            return "%s is missing: install %s" % (tool, package)
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe_name = "mtws-%d-probe" % os.getpid()
    try:
        hosts.run(["ip", "netns", "add", probe_name])
        hosts.run(["ip", "-n", probe_name, "link", "add", "net0", "type", "veth", "peer", "name",
                   "net1"])
        hosts.run(["ip", "netns", "exec", probe_name, "nft", "add", "table", "inet", "fault"])
    except RuntimeError as error:
        return "the system can't do it: %s" % error
    finally:
        subprocess.run(["ip", "netns", "delete", probe_name],
                       stderr=subprocess.DEVNULL)
    return None


def stop(number, frame):
    hosts.stopping.set()


def main():
    lack = missing()
    if lack:
        print("netns: " + lack)
        print("0 passed, 1 failed")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    programs = {"client": os.path.abspath(sys.argv[1]), "server": os.path.abspath(sys.argv[2])}
    word = sys.argv[3] if len(sys.argv) > 3 else ""
    chosen = [entry for entry in all_tests() if word in entry[0]]
    had_names = os.path.isdir("/etc/netns")
    directory = tempfile.mkdtemp(prefix="mtws-netns-")
    passed = failed = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "8"))) as pool:
            runs = [pool.submit(run_one, number, *entry, directory, programs)
                    for number, entry in enumerate(chosen)]
            for done in concurrent.futures.as_completed(runs):
                test = done.result()
                passed, failed = passed + (not test.wrong), failed + bool(test.wrong)
                print("%s  %s  %s" % ("FAILED" if test.wrong else "ok    ", test.name,
                                      ", ".join(test.notes)), flush=True)
                for text in test.wrong:
                    print("    " + text)
                if test.report:
                    print(test.report, flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if not had_names and os.path.isdir("/etc/netns") and not os.listdir("/etc/netns"):
            os.rmdir("/etc/netns")
    if passed + failed == 0:
        print("no test has a name that contains \"%s\"" % word)
        failed = 1
    print("%d passed, %d failed" % (passed, failed))
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
