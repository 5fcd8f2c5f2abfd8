package onerror_test

import (
	"fmt"

	"github.com/millstream-go/millstream/onerror"
)

func ExamplePolicy() {
	var zero onerror.Policy
	fmt.Println("zero is Skip:", zero == onerror.Skip)
	fmt.Println("dead letters go to", onerror.DeadLetter("payments.dead").Topic)
	fmt.Println("fail writes nothing:", onerror.Fail.Topic == "")
	// Output:
	// zero is Skip: true
	// dead letters go to payments.dead
	// fail writes nothing: true
}
