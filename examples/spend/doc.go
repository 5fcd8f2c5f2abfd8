// Spend is the program of the README: what each customer spends per minute.
package main
