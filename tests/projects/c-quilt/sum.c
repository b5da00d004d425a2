#include <stdio.h>
#include <zlib.h>

int main(void)
{
    printf("%lx\n", adler32(0, (const Bytef *) "upstream", 8));
    return 0;
}
