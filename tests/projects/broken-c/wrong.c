int main(void)
{
    return count
}
