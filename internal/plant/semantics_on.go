//go:build plant_semantics

package plant

import "os"

var chosen = os.Getenv("MILLSTREAM_PLANT")

// Is says that a mistake of the operators' semantics is built in and chosen: scripts/propertytest.sh lists them. All of
// them are in one build, since that of the tests takes long.
func Is(name string) bool { return name == chosen }
