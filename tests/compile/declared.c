/* With -DMTWS_STATIC a file that has no implementation still has the types, and no warning of
 * functions that are declared and never defined.
 */
#include "../../mtws.h"

int main(void) {
    mtws_event event;
    event.type = MTWS_EVENT_NONE;
    return event.type == MTWS_EVENT_NONE ? 0 : 1;
}
