// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/chmail/chmail/internal/testpart"
)

// TestUI runs the tests of web/ui, test/*.test.ts, in Node.
func TestUI(t *testing.T) {
	t.Chdir("../..")
	node := testpart.Need(t, "node")
	tests, err := filepath.Glob(filepath.Join(source, "test", "*.test.ts"))
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, name := range tests {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".test.ts"), func(t *testing.T) {
			result := api.Build(api.BuildOptions{
				EntryPoints: []string{name}, Bundle: true, Format: api.FormatESModule, Platform: api.PlatformNode,
				Target: api.ES2022, Sourcemap: api.SourceMapInline, Outdir: ".", LogLevel: api.LogLevelWarning,
			})
			if len(result.Errors) > 0 {
				t.Fatal(result.Errors[0].Text)
			}
			script := result.OutputFiles[0].Contents
			file := filepath.Join(t.TempDir(), "test.mjs")
			if err := os.WriteFile(file, withWords("en", script), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, node, "--enable-source-maps", "--test-reporter=spec", file).CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
