// clang --target=wasm32-wasi -Os -s -o policy_fread.wasm policy_fread.c
//
// Refuses what mentions "forbidden". Reads its input with fread().
#include <stdio.h>
#include <string.h>

static char input[1 << 16];

int main(int argc, char **argv) {
	fread(input, 1, sizeof input - 1, stdin);
	if (ferror(stdin))
		return 1;
	if (argc == 2 && strcmp(argv[1], "validate-settings") == 0)
		puts("{\"valid\":true}");
	else if (strstr(input, "forbidden"))
		puts("{\"accepted\":false,\"message\":\"it is forbidden\"}");
	else
		puts("{\"accepted\":true}");
	return 0;
}
