/* The header stands alone, in any order, any number of times. */
#include <holdfast.h>
#include <holdfast.h>

int main(void)
{
    return holdfast_abi_version() == HOLDFAST_ABI_VERSION ? 0 : 1;
}
