/* The memory that the client is given.
 */
#ifndef MTWS_SIM_GROUND_H_INCLUDED
#define MTWS_SIM_GROUND_H_INCLUDED

#if defined(__SANITIZE_ADDRESS__)
#    define SIM_ASAN 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define SIM_ASAN 1
#    endif
#endif
#ifndef SIM_ASAN
#    define SIM_ASAN 0
#endif

/* The client's block lies between guard zones, at any alignment. What it holds at first is garbage
 * that differs between two runs of a seed, so that whatever depends on it shows. */
enum { GUARD = 64, ARENA_SIZE = 1 << 20 };

static struct {
    uint8_t arena[ARENA_SIZE];
    uint8_t *memory; /* of the sanitizer's malloc */
    uint8_t *block;
    size_t size;
    bool taken, refuses; /* of mtws_create: has the block, gets none */
} ground;

static void ground_prepare(size_t size, uint8_t filler)
{
    size_t place = GUARD + sim.plan.odd_offset;
    ground.taken = false;
    REQUIRE(size > 0 && size < ARENA_SIZE - 4 * GUARD, "memory", "mtws_memory_required is %zu",
            size);
    uint8_t *from = ground.arena;
    if (SIM_ASAN) {
        free(ground.memory);
        from = ground.memory = (uint8_t *)malloc(place + size);
        REQUIRE(from != NULL, "simulator", "out of memory");
    } else {
        memset(ground.arena + place + size, 0xa5, GUARD);
    }
    memset(from, 0xa5, place);
    ground.block = from + place;
    ground.size = size;
    memset(ground.block, filler, size);
}

/* mtws_create takes the same block, once; now and then there is none. */
static void *sim_malloc(size_t size)
{
    REQUIRE(size == ground.size && !ground.taken, "memory", "%zu bytes are asked for", size);
    ground.taken = !ground.refuses;
    return ground.taken ? ground.block : NULL;
}

static void sim_free(void *block)
{
    REQUIRE(block == ground.block && ground.taken, "memory", "a block is freed that was not taken");
    ground.taken = false;
}

static void ground_check(void)
{
    REQUIRE(!ground.taken, "memory", "the block is not freed");
    for (size_t i = 1; i <= GUARD; i++) {
        REQUIRE(ground.block[-(ptrdiff_t)i] == 0xa5, "memory", "written %zu bytes before the block",
                i);
        REQUIRE(SIM_ASAN || ground.block[ground.size + i - 1] == 0xa5, "memory",
                "written %zu bytes behind the block", i);
    }
}

#endif
