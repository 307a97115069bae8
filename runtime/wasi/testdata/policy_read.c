// clang --target=wasm32-wasi -Os -s -o policy_read.wasm policy_read.c
//
// Refuses what mentions "forbidden". Reads its input with read().
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char input[1 << 16];

int main(int argc, char **argv) {
	size_t length = 0;
	for (;;) {
		ssize_t n = read(0, input + length, sizeof input - 1 - length);
		if (n < 0)
			return 1;
		if (n == 0)
			break;
		length += n;
	}
	if (argc == 2 && strcmp(argv[1], "validate-settings") == 0)
		puts("{\"valid\":true}");
	else if (strstr(input, "forbidden"))
		puts("{\"accepted\":false,\"message\":\"it is forbidden\"}");
	else
		puts("{\"accepted\":true}");
	return 0;
}
