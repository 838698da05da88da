// The program in the pods of the self-test: it serves, and does by command
// what a shell would do in a larger image.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fatal(fmt.Errorf("usage: selftest serve|get URL|lookup NAME|eat|write FILE TEXT"))
	}
	switch os.Args[1] {
	case "serve":
		fmt.Println("serving")
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from", os.Getenv("HOSTNAME")) })
		fatal(http.ListenAndServe(":8080", nil))
	case "get":
		client := http.Client{Timeout: 3 * time.Second}
		answer, err := client.Get(os.Args[2])
		fatal(err)
		_, err = io.Copy(os.Stdout, answer.Body)
		fatal(err)
	case "lookup":
		addresses, err := net.LookupHost(os.Args[2])
		fatal(err)
		fmt.Println(addresses)
	case "eat":
		var eaten [][]byte
		for {
			bite := make([]byte, 1<<20)
			for i := range bite {
				bite[i] = 1
			}
			eaten = append(eaten, bite)
			time.Sleep(time.Millisecond) // not faster than the kernel's accounting
		}
	case "write":
		fatal(os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o600))
		time.Sleep(time.Hour)
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
