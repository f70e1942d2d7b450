/* A simulator: the real client, from mtws_create to mtws_destroy, in virtual time, over a simulated
 * network and a scripted server, all drawn from one 64-bit seed.
 *
 *     sim [seconds=60] [seeds=N] [first=N] [jobs=N] [lines=N] [stop=1]    many seeds
 *     sim seed=N [trace=1] [only=NAME,NAME] [percent=N] [shrink=0]    one
 *
 * A seed draws a set of faults and habits (plan.h), the client's options, and everything that
 * happens. After a time all faults heal, and the promises of mtws.h are checked to the end: model.h
 * says which. A failing seed prints what was violated and the end of its trace, and is shrunk to
 * the traits that it needs. The same seed gives the same run, to the byte.
 */
#define _DEFAULT_SOURCE 1

/* What mtws.h includes itself, for the prototypes in sys.h. */
#include <ctype.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "sys.h"

static void sim_assertion(const char *text, int line);
static void *sim_malloc(size_t size);
static void sim_free(void *block);

/* Limits small enough to be met. */
#define MTWS_REQUEST_MAX 1024
#define MTWS_ANSWER_MAX 2048
#define MTWS_FIRST_MAX 600
#define MTWS_PART_MAX 1200
#define MTWS_MALLOC(size) sim_malloc(size)
#define MTWS_FREE(p) sim_free(p)
#define MTWS_ASSERT(x) ((x) ? (void)0 : sim_assertion(#x, __LINE__))
#define MTWS_IMPLEMENTATION
#define MTWS_STATIC
#include "../../mtws.h"

#include "../test.h"

#include "../session/wire.h"

#include "base.h"

#include "plan.h"

#include "world.h"

#include "model.h"

#include "tap.h"

#include "server.h"

#include "transport.h"

#include "program.h"

#include "names.h"

#include "native.h"

#include "ground.h"

#include "drive.h"

#include "runner.h"

static void sim_assertion(const char *text, int line)
{
    violate("assertion", "mtws.h, line %d: assertion failed: %s", line, text);
}

int main(int argc, char **argv)
{
    task t;
    memset(&t, 0, sizeof t);
    memset(&t.mask, 0xff, sizeof t.mask);
    t.first = 1;
    t.seconds = 60;
    t.jobs = 1;
    t.percent = 100;
    t.lines = 30;
    t.shrink = true;
    for (int i = 1; i < argc; i++) {
        if (!read_argument(&t, argv[i])) {
            printf("what is %s? See the first lines of sim.c.\n", argv[i]);
            return 2;
        }
    }
    content_start();
    return t.one ? run_one(&t) : run_jobs(&t);
}
