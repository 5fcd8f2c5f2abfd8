//go:build plant_no_toc_timers

package plant

// NoTOCTimers: an epoch that read nothing commits without its positions, so that it is not fenced.
const NoTOCTimers = true
