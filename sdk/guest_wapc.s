//go:build wasip1 && wapc

// The compiler lets a function have no body (programMain) where there is assembly.
