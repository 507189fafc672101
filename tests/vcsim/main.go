// A vCenter of govmomi's simulator for the tests: it prints its URL and serves until its standard input ends.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"

	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	machines := flag.Int("vm", 2, "machines of each of two resource pools")
	certificate := flag.String("certificate", "", "PEM file of the certificate to serve with")
	key := flag.String("key", "", "PEM file of the certificate's key")
	user := flag.String("user", "ingot", "who may log in")
	password := flag.String("password", "", "file with the password")
	esx := flag.Bool("esx", false, "a single host instead of a vCenter")
	flag.Parse()

	secret, err := os.ReadFile(*password)
	if err != nil {
		log.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = *machines
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*user, string(secret))}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.RegisterEndpoints = true
	server := model.Service.NewServer()
	defer model.Remove()
	defer server.Close()
	fmt.Println(server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
