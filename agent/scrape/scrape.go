package scrape

import (
	goruntime "runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

// Sources are what is read. Each is asked at every scrape.
type Sources struct {
	Agent   *agent.Agent
	Runtime interface{ Counts() runtime.Counts }
	Network Network
	Logs    interface{ Account() logs.Account }
	Disks   map[string]string // a path on each, by the disk's name
}

// Network is what is asked of the dynos' network.
type Network interface {
	Counts() network.Counts
	// Denied is packets by rule.
	Denied() (map[string]uint64, error)
}

// Register has everything read that is known here, and what Go and the kernel know of this process.
func Register(reg prometheus.Registerer, from Sources) {
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector(func(to metrics) { readHost(to, from.Agent) }),
		collector(func(to metrics) { readDynos(to, from.Agent.List()) }),
		collector(func(to metrics) { readRuntime(to, from.Runtime.Counts()) }),
		collector(func(to metrics) { readNetwork(to, from.Network) }),
		collector(func(to metrics) { readLogs(to, from.Logs.Account()) }),
		collector(newDisks(from.Disks).read),
	)
}

// collector is a prometheus.Collector whose metrics differ from host to host.
type collector func(metrics)

// Describe says nothing beforehand.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads.
func (c collector) Collect(ch chan<- prometheus.Metric) { c(ch) }

// metrics are what one scrape gives.
type metrics chan<- prometheus.Metric

// gauge gives a value, with pairs of a label's name and its value.
func (to metrics) gauge(name, help string, value float64, labels ...string) {
	to.give(prometheus.GaugeValue, name, help, value, labels)
}

func (to metrics) count(name, help string, value float64, labels ...string) {
	to.give(prometheus.CounterValue, name, help, value, labels)
}

func (to metrics) give(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	set := prometheus.Labels{}
	for i := 0; i < len(labels); i += 2 {
		set[labels[i]] = labels[i+1]
	}
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, set), kind, value)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

var goVersion = goruntime.Version()
