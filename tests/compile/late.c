/* The implementation after another header. Strict C99 without -D_DEFAULT_SOURCE has hidden POSIX by
 * then: the compiler must stop at an #error that says what to do. Everything else builds.
 */
#include <stdio.h>

#include "../../mtws.h"

#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

int main(void) {
    puts(mtws_version());
    return mtws_memory_required(NULL) > 0 ? 0 : 1;
}
