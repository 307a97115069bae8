package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd is etcd with one member. It chooses its ports itself, and writes its
// address to a file when it is ready.
func runEtcd(args []string) error {
	var tls transport.TLSInfo
	cfg := embed.NewConfig()
	set := flag.NewFlagSet("etcd", flag.ContinueOnError)
	set.StringVar(&cfg.Dir, "data", "", "folder of the data")
	set.StringVar(&tls.TrustedCAFile, "ca", "", "who signs the certificates of clients")
	set.StringVar(&tls.CertFile, "cert", "", "certificate")
	set.StringVar(&tls.KeyFile, "key", "", "key of the certificate")
	addressFile := set.String("address-file", "", "file to write the address to")
	if err := set.Parse(args); err != nil {
		return &usageError{"etcd: " + err.Error()}
	}
	tls.ClientCertAuth = true
	any := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{any}, []url.URL{any}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{any}, []url.URL{any}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = tls, tls
	cfg.LogLevel, cfg.LogOutputs = "warn", []string{"stderr"}
	// One member votes for itself; it need not be patient.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	// A process that is killed loses nothing: what it wrote, the kernel has.
	cfg.UnsafeNoFsync = true
	cfg.QuotaBackendBytes = 8 << 30

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return errors.New("etcd: stopped before it was ready")
	}
	if err := writeAddress(*addressFile, server.Clients[0].Addr().String()); err != nil {
		return err
	}
	select {
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// writeAddress writes the file as a whole: whoever waits for it reads all of it.
func writeAddress(name, address string) error {
	if err := os.WriteFile(name+".new", []byte(address), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
