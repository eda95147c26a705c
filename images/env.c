/* env [NAME=VALUE]... [COMMAND [ARGUMENT]...]: runs the command with these variables, or prints the environment. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int count, char **arguments)
{
    (void)count;
    while (*++arguments != NULL && strchr(*arguments, '=') != NULL)
        putenv(*arguments);
    if (*arguments == NULL) {
        for (char **variable = environ; *variable != NULL; variable++)
            puts(*variable);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    execvp(*arguments, arguments);
    perror(*arguments);
    return 127;
}
