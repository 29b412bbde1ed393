#!/bin/sh
# Stands in for `kind`: a cluster is a folder of $KIND_STATE with a file for each node, which children of `create` make, late.
set -eu
verb="$1 $2"
echo "$*" >> "$KIND_STATE/calls"
name=
kubeconfig=
while [ $# -gt 0 ]; do
  case $1 in
    --name) name=$2 ;;
    --kubeconfig) kubeconfig=$2 ;;
  esac
  shift
done
cluster=$KIND_STATE/clusters/$name
case $verb in
  "get clusters") ls "$KIND_STATE/clusters" ;;
  "get nodes") if [ -d "$cluster" ]; then ls "$cluster"; fi ;;
  "create cluster")
    if [ -n "${KIND_CREATE_FAILS-}" ]; then
      echo "ERROR: failed to create cluster: $KIND_CREATE_FAILS" >&2
      exit 1
    fi
    mkdir "$cluster"
    for node in $KIND_NODES; do
      sh -c 'echo $$ >> "$KIND_STATE/makers"; sleep "$KIND_NODE_SECONDS"; mkdir -p "$1"; : > "$1/$2"' - "$cluster" "$node" &
    done
    wait
    cp "$KIND_KUBECONFIG" "$kubeconfig"
    ;;
  "export kubeconfig") cp "$KIND_KUBECONFIG" "$kubeconfig" ;;
  "load docker-image") ;;
  "delete cluster")
    if [ -e "$KIND_STATE/refuse-deletion" ]; then
      echo "ERROR: failed to delete cluster" >&2
      exit 1
    fi
    rm -rf "$cluster"
    ;;
  *) echo "unknown: $verb" >&2; exit 1 ;;
esac
