// Package cloudtest is a stand-in for EC2's instance metadata service, as strict as the real one with version 1 turned
// off: nothing is answered without a living token that this service has given out.
package cloudtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	base        = "/latest/"
	tokenPath   = "/latest/api/token"
	tokenHeader = "X-Aws-Ec2-Metadata-Token" //nolint:gosec // a header's name
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTTL      = 6 * time.Hour
)

// Service is the stand-in, an http.Handler.
type Service struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path below /latest/
	tokens  map[string]time.Time        // when they expire
	given   int                         // tokens so far
	asked   []string
	fault   http.HandlerFunc // instead of everything
}

// New is the service of an instance of which nothing is known but its identity.
func New() *Service {
	s := &Service{answers: map[string]http.HandlerFunc{}, tokens: map[string]time.Time{}}
	s.Set("dynamic/instance-identity/document", Identity)
	return s
}

// Identity is the identity document of New.
const Identity = `{
  "accountId" : "123456789012", "architecture" : "x86_64", "availabilityZone" : "eu-west-1b", "billingProducts" : null,
  "devpayProductCodes" : null, "marketplaceProductCodes" : null, "imageId" : "ami-0abcdef1234567890",
  "instanceId" : "i-1234567890abcdef0", "instanceType" : "m7g.large", "kernelId" : null,
  "pendingTime" : "2026-01-02T03:04:05Z", "privateIp" : "10.0.1.2", "ramdiskId" : null, "region" : "eu-west-1",
  "version" : "2017-09-30"
}`

// Set answers a path below /latest/ with a text.
func (s *Service) Set(path, text string) {
	s.Answer(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// Answer answers a path below /latest/ in some way; nil: there is nothing.
func (s *Service) Answer(path string, how http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = how
}

// Break answers everything in some way, tokens too, until how is nil.
func (s *Service) Break(how http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = how
}

// Revoke forgets all tokens.
func (s *Service) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Asked are the methods and paths that were ever asked for, each once, sorted, refused ones too.
func (s *Service) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.asked)))
}

// Requests counts all requests so far.
func (s *Service) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// ServeHTTP answers as the instance metadata service does.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	request := r.Method + " " + r.URL.Path
	if _, given := r.Header[tokenHeader]; r.Method == http.MethodGet && !given {
		request += " without a token"
	}
	s.asked = append(s.asked, request)
	how := s.handler(r)
	s.mu.Unlock()
	how(w, r)
}

// handler is the answer to a request.
func (s *Service) handler(r *http.Request) http.HandlerFunc {
	path, below := strings.CutPrefix(r.URL.Path, base)
	switch {
	case s.fault != nil:
		return s.fault
	case r.Method == http.MethodPut && r.URL.Path == tokenPath:
		return s.token(r)
	case r.Method != http.MethodGet:
		return status(http.StatusMethodNotAllowed)
	case !time.Now().Before(s.tokens[r.Header.Get(tokenHeader)]):
		return status(http.StatusUnauthorized)
	case !below || s.answers[path] == nil:
		return status(http.StatusNotFound)
	}
	return s.answers[path]
}

// token gives out a token, to nobody who was asked through a proxy.
func (s *Service) token(r *http.Request) http.HandlerFunc {
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	ttl := time.Duration(seconds) * time.Second
	switch {
	case r.Header.Get("X-Forwarded-For") != "":
		return status(http.StatusForbidden)
	case err != nil || ttl < time.Second || ttl > maxTTL:
		return status(http.StatusBadRequest)
	}
	s.given++
	token := fmt.Sprintf("token-%d", s.given)
	s.tokens[token] = time.Now().Add(ttl)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(ttlHeader, strconv.Itoa(seconds))
		_, _ = w.Write([]byte(token))
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
