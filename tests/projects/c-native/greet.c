#include <stdio.h>

int main(void)
{
    puts("hello, built " __DATE__);
    return 0;
}
