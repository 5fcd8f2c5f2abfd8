package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program of this folder is the one in the README, which compiles therefore.
func TestReadmeHasThisProgram(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 1)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.Equal(t, string(program), string(blocks[0][1]))
}
