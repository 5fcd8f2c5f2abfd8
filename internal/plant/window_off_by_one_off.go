//go:build !plant_window_off_by_one

package plant

// WindowOffByOne: a window takes the record at its end.
const WindowOffByOne = false
