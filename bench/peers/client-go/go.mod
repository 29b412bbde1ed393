module k8s-run-informer/bench/peers/client-go

go 1.18

require (
	k8s.io/api v0.20.2
	k8s.io/client-go v0.20.2
)
