#!/usr/bin/env bash
# The soak's form for any cluster, on the embedded one in a process of its own, with every hook that it has:
#   bash test/soak/own-process.sh --runs 60 --at-a-time 20 --minutes 0.5
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/node_modules/.bin:$PATH"
directory=$(mktemp -d)
commands="$directory/commands"
mkfifo "$commands"
# Open for reading too: the server's input does not end between two commands.
exec 3<>"$commands"
node src/embedded/main.ts --kubeconfig "$directory/kubeconfig.json" \
  --programs test/e2e/targets/process-programs.ts <"$commands" >"$directory/answers" &
cluster=$!
trap 'kill "$cluster"; wait "$cluster" || true; rm -rf "$directory"' EXIT
until grep -q '"ready":true' "$directory/answers"; do
  kill -0 "$cluster"
  sleep 0.1
done

# A line of JSON for the server: its method and arguments. What stands in quotes is the hook's own variable.
send() { printf 'printf %%s\\\\n "{\\"id\\":1,\\"method\\":\\"%s\\",\\"args\\":[%s]}" >"%s"' "$1" "$2" "$commands"; }
pod='\"$E2E_POD_NAMESPACE\",\"$E2E_POD\"'
export E2E_RESTART_APISERVER="$(send restart '{\"downMs\":2000}'); sleep 3"
export E2E_PAUSE_APISERVER="$(send faults.freeze 3000); sleep 3"
export E2E_EXPIRE_VERSIONS="$(send faults.expireVersions ''); $(send faults.cutWatches '{\"how\":\"reset\"}')"
export E2E_RESTART_KUBELET="$(send nodes.restartKubelet '\"$E2E_NODE\"'); sleep 2"
# Harder than a runtime's: the containers go, and the node is away for a moment.
export E2E_RESTART_RUNTIME="$(send nodes.restart '\"$E2E_NODE\",{\"downMs\":2000}'); sleep 3"
export E2E_TAINT_NODE="$(send nodes.setTaints '\"$E2E_NODE\",[{\"key\":\"soak\",\"effect\":\"NoExecute\"}]'); sleep 3; $(send nodes.setTaints '\"$E2E_NODE\",[]')"
export E2E_EVICT="$(send evictPod "$pod")"
export E2E_ROTATE_LOGS="$(send rotateLogs "$pod,\\\"\$E2E_CONTAINER\\\"")"
node test/soak/main.ts --kubeconfig "$directory/kubeconfig.json" --image k8s-run-informer/fake-claude:e2e "$@"
grep '"error"' "$directory/answers" || true
