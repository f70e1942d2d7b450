/* The implementation and nothing else, to be linked with files that include the header alone. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"
