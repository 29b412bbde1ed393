// A typed pod informer of client-go, driven as the other contestants are: each line of its input is a call, each line of its output the
// answer to one.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

type call struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type answer struct {
	Result any    `json:"result"`
	Error  string `json:"error,omitempty"`
}

type sample struct {
	CPUMs  float64 `json:"cpuMs"`
	WallMs float64 `json:"wallMs"`
}

// Set by the linker where the modules do not say it: -ldflags "-X main.version=v0.20.2".
var version string

var (
	seen   int64
	wanted int64 = 1 << 62
	armed  func() sample
	taken  chan sample
)

func main() {
	if len(os.Args) > 1 {
		fmt.Printf("client-go %s, %s\n", clientGoVersion(), runtime.Version())
		return
	}
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var each call
		if err := json.Unmarshal(in.Bytes(), &each); err != nil {
			panic(err)
		}
		result, err := answerTo(each)
		reply := answer{Result: result}
		if err != nil {
			reply.Error = err.Error()
		}
		if err := out.Encode(reply); err != nil {
			panic(err)
		}
	}
}

func clientGoVersion() string {
	info, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return version
	}
	for _, module := range info.Deps {
		if module.Path == "k8s.io/client-go" {
			return module.Version
		}
	}
	return version
}

func answerTo(each call) (any, error) {
	switch each.Method {
	case "open":
		return open(each.Params)
	case "arm":
		var count int64
		if err := json.Unmarshal(each.Params, &count); err != nil {
			return nil, err
		}
		taken = make(chan sample, 1)
		armed = stopwatch()
		atomic.StoreInt64(&seen, 0)
		atomic.StoreInt64(&wanted, count)
		return nil, nil
	default:
		return <-taken, nil
	}
}

func open(params json.RawMessage) (any, error) {
	var options struct {
		Endpoint struct{ URL, CA, Namespace string }
	}
	if err := json.Unmarshal(params, &options); err != nil {
		return nil, err
	}
	endpoint := options.Endpoint
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            endpoint.URL,
		BearerToken:     "bench",
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(endpoint.CA)},
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	})
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(endpoint.Namespace))
	pods := factory.Core().V1().Pods().Informer()
	pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { onPod(object.(*v1.Pod)) },
		UpdateFunc: func(_, object any) { onPod(object.(*v1.Pod)) },
	})
	stop := stopwatch()
	never := make(chan struct{})
	factory.Start(never)
	cache.WaitForCacheSync(never, pods.HasSynced)
	return stop(), nil
}

func onPod(_ *v1.Pod) {
	if atomic.AddInt64(&seen, 1) == atomic.LoadInt64(&wanted) {
		taken <- armed()
	}
}

// CPU of the whole process, user and system, and time from now on.
func stopwatch() func() sample {
	began, at := cpuMs(), time.Now()
	return func() sample {
		return sample{CPUMs: cpuMs() - began, WallMs: float64(time.Since(at).Microseconds()) / 1000}
	}
}

func cpuMs() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	ms := func(each syscall.Timeval) float64 { return float64(each.Sec)*1000 + float64(each.Usec)/1000 }
	return ms(usage.Utime) + ms(usage.Stime)
}
