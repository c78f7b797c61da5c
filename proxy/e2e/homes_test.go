//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"signalpost/proxy/config"
	"signalpost/proxy/docs/generated"
)

// The places to run of the documentation, as far as they can be tested without the
// engine: each file is read by the parser, or checked by the tool, of whoever
// will read it, and the config in it loads.

// user is whom the image runs as.
const user = 65532

func TestReadmeCompose(t *testing.T) {
	dir := t.TempDir()
	text := only(t, "homes ## Compose", "yaml")
	project, err := loader.LoadWithContext(t.Context(), compose.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}},
	}, func(o *loader.Options) { o.SetProjectName("readme", true) })
	if err != nil {
		t.Fatal(err)
	}
	us := project.Services["signalpost"]
	if !us.ReadOnly {
		t.Error("the root file system is not read-only")
	}
	if us.HealthCheck == nil || strings.Join(us.HealthCheck.Test, " ") != "CMD /signalpost health" {
		t.Errorf("the app waits for a health check that is %+v", us.HealthCheck)
	}
	cfg, err := config.Load(t.Context(), outside(t, only(t, "homes ## Compose", "toml")))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(cfg.Server.Hosts, us.Name) {
		t.Errorf("the app asks for the host %s, and hosts is %q", us.Name, cfg.Server.Hosts)
	}
	if len(us.Ports) != 1 || us.Ports[0].HostIP != "127.0.0.1" || us.Ports[0].Target != 8787 {
		t.Errorf("ports %+v", us.Ports)
	}
	targets := map[string]compose.ServiceVolumeConfig{}
	for _, v := range us.Volumes {
		targets[v.Target] = v
	}
	if v := targets["/config"]; v.Type != "bind" || !v.ReadOnly {
		t.Errorf("/config is %+v", v)
	}
	if v := targets[cfg.Queue.Path]; v.Type != "volume" || v.ReadOnly {
		t.Errorf("the store's folder %s is %+v", cfg.Queue.Path, v)
	}
	for _, name := range secretFiles(only(t, "homes ## Compose", "toml")) {
		if !slices.ContainsFunc(us.Secrets, func(s compose.ServiceSecretConfig) bool { return "/run/secrets/"+s.Source == name }) {
			t.Errorf("the config names %s, which is not mounted", name)
		}
	}
}

// secretFiles are the files that the secrets of a config are in.
func secretFiles(text string) (names []string) {
	for _, m := range regexp.MustCompile(`\bfile = "([^"]+)"`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// kubernetes is the folder that is ready for Kustomize.
const kubernetes = "../docs/kubernetes/"

// manifest is a file of a folder there.
func manifest(t *testing.T, folder, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(kubernetes, folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// decode reads the documents of a manifest, none of which has a field that its kind
// does not.
func decode(t *testing.T, text string, into ...any) {
	t.Helper()
	documents := strings.Split(text, "\n---\n")
	if len(documents) != len(into) {
		t.Fatalf("%d documents, want %d:\n%s", len(documents), len(into), text)
	}
	for i, document := range documents {
		if err := yaml.UnmarshalStrict([]byte(document), into[i]); err != nil {
			t.Fatal(err)
		}
	}
}

// A kustomization is the file of that name, as far as it is used here.
type kustomization struct {
	meta.TypeMeta
	Resources          []string `json:"resources"`
	ConfigMapGenerator []struct {
		Name  string   `json:"name"`
		Files []string `json:"files"`
	} `json:"configMapGenerator"`
	GeneratorOptions struct {
		DisableNameSuffixHash bool `json:"disableNameSuffixHash"`
	} `json:"generatorOptions"`
}

func kustomized(t *testing.T, folder string) (k kustomization) {
	t.Helper()
	decode(t, manifest(t, folder, "kustomization.yaml"), &k)
	if k.APIVersion != "kustomize.config.k8s.io/v1beta1" || k.Kind != "Kustomization" {
		t.Errorf("%s is a %s of %s", folder, k.Kind, k.APIVersion)
	}
	for _, name := range k.Resources {
		manifest(t, folder, name)
	}
	return k
}

// TestReadmeKubernetes looks at what Kustomize is given, and that the page shows the
// same.
func TestReadmeKubernetes(t *testing.T) {
	shown := ""
	for _, name := range []string{"sidecar/kustomization.yaml", "sidecar/signalpost.toml", "sidecar/app.yaml"} {
		shown += fmt.Sprintf("\n`%s`:\n\n```%s\n%s```\n", name, strings.TrimPrefix(filepath.Ext(name), "."), manifest(t, "", name))
	}
	const command = "go test ./proxy/e2e -run TestReadmeKubernetes -update"
	generated.Check(t, "../docs/homes.md", command, shown+"\n", *update)
	generated.Check(t, "../docs/fleet.md", command, "\n```yaml\n"+manifest(t, "fleet", "app.yaml")+"```\n\n", *update)

	var service core.Service
	var app apps.StatefulSet
	decode(t, manifest(t, "sidecar", "app.yaml"), &service, &app)
	if service.Name != app.Spec.ServiceName || service.Spec.ClusterIP != "None" || !matches(service.Spec.Selector, app.Spec.Template.Labels) {
		t.Errorf("the service %s of %s is %+v", app.Spec.ServiceName, app.Name, service.Spec)
	}
	claims := map[string]bool{}
	for _, v := range app.Spec.VolumeClaimTemplates {
		claims[v.Name] = true
	}
	checkPod(t, "sidecar", app.Spec.Selector, app.Spec.Template, claims)

	// A fleet is the same pod, but without a disk of its own.
	var fleet apps.Deployment
	decode(t, manifest(t, "fleet", "app.yaml"), &fleet)
	cfg := checkPod(t, "fleet", fleet.Spec.Selector, fleet.Spec.Template, nil)
	if cfg.Fleet == nil {
		t.Error("the config has no [fleet]")
	}
	if !reflect.DeepEqual(fleet.Spec.Template.Spec.InitContainers, app.Spec.Template.Spec.InitContainers) {
		t.Error("the sidecar is not the same in a fleet")
	}
	if *fleet.Spec.Replicas < 2 {
		t.Errorf("%d replicas", *fleet.Spec.Replicas)
	}
}

// checkPod looks at the pods of a folder, whose claims are volumes of their own.
func checkPod(t *testing.T, folder string, selector *meta.LabelSelector, template core.PodTemplateSpec, claims map[string]bool) *config.Config {
	t.Helper()
	k := kustomized(t, folder)
	if len(k.ConfigMapGenerator) != 1 || !slices.Equal(k.ConfigMapGenerator[0].Files, []string{"signalpost.toml"}) || !k.GeneratorOptions.DisableNameSuffixHash {
		t.Fatalf("the config map is made by %+v", k)
	}
	pod := template.Spec
	if !matches(selector.MatchLabels, template.Labels) {
		t.Error("the selector does not select its own pods")
	}
	if len(pod.InitContainers) != 1 {
		t.Fatalf("%d init containers", len(pod.InitContainers))
	}
	us := pod.InitContainers[0]
	if us.RestartPolicy == nil || *us.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("an init container is a sidecar with restartPolicy Always")
	}
	safe := us.SecurityContext
	if safe == nil || !*safe.ReadOnlyRootFilesystem || !*safe.RunAsNonRoot || *safe.AllowPrivilegeEscalation || *safe.RunAsUser != user || *pod.SecurityContext.FSGroup != user {
		t.Errorf("security context %+v", safe)
	}
	for name, want := range map[string]struct {
		probe *core.Probe
		path  string
	}{
		"startup": {us.StartupProbe, "/readyz"}, "readiness": {us.ReadinessProbe, "/readyz"}, "liveness": {us.LivenessProbe, "/healthz"},
	} {
		if want.probe == nil || want.probe.HTTPGet == nil || want.probe.HTTPGet.Path != want.path || want.probe.HTTPGet.Port.StrVal != us.Ports[0].Name {
			t.Errorf("%s probe %+v", name, want.probe)
		}
	}

	text := manifest(t, folder, "signalpost.toml")
	cfg, err := config.Load(t.Context(), outside(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("0.0.0.0:%d", us.Ports[0].ContainerPort); cfg.Server.Listen != want {
		t.Errorf("it listens on %s, the probes ask %s", cfg.Server.Listen, want)
	}
	mounts := map[string]string{} // path → volume
	for _, m := range us.VolumeMounts {
		if m.SubPath != "" {
			t.Errorf("%s is mounted by subPath, which is never updated", m.MountPath)
		}
		mounts[m.MountPath] = m.Name
	}
	for _, name := range append(secretFiles(text), cfg.Queue.Path) {
		if mounts[filepath.Dir(name)] == "" {
			t.Errorf("%s is in no volume", name)
		}
	}
	volumes := maps.Clone(claims)
	if volumes == nil {
		volumes = map[string]bool{}
	}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != k.ConfigMapGenerator[0].Name {
			t.Errorf("the volume %s is of the config map %s, which there is not", v.Name, v.ConfigMap.Name)
		}
	}
	for path, name := range mounts {
		if !volumes[name] {
			t.Errorf("%s is of the volume %s, which there is not", path, name)
		}
	}
	if grace := *pod.TerminationGracePeriodSeconds; grace < 30+10 {
		t.Errorf("after the app's 30 s, %d s are left to the sidecar's 10 s", grace-30)
	}
	return cfg
}

// TestKubernetesMonitoring: what the Prometheus Operator is given finds the sidecar's
// port and its token, and has the rules of the page.
func TestKubernetesMonitoring(t *testing.T) {
	kustomized(t, "monitoring")
	var fleet apps.Deployment
	decode(t, manifest(t, "fleet", "app.yaml"), &fleet)
	var monitor struct {
		meta.TypeMeta
		Metadata meta.ObjectMeta `json:"metadata"`
		Spec     struct {
			Selector            meta.LabelSelector `json:"selector"`
			PodMetricsEndpoints []struct {
				Port          string `json:"port"`
				Authorization struct {
					Credentials core.SecretKeySelector `json:"credentials"`
				} `json:"authorization"`
				Relabelings []struct {
					TargetLabel string `json:"targetLabel"`
					Replacement string `json:"replacement"`
				} `json:"relabelings"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	decode(t, manifest(t, "monitoring", "podmonitor.yaml"), &monitor)
	template := fleet.Spec.Template
	ask := monitor.Spec.PodMetricsEndpoints[0]
	token := slices.IndexFunc(template.Spec.Containers[0].Env, func(e core.EnvVar) bool { return e.Name == "SIGNALPOST_TOKEN" })
	if !matches(monitor.Spec.Selector.MatchLabels, template.Labels) || ask.Port != template.Spec.InitContainers[0].Ports[0].Name ||
		token < 0 || ask.Authorization.Credentials != *template.Spec.Containers[0].Env[token].ValueFrom.SecretKeyRef {
		t.Errorf("it asks %+v of %+v", ask, monitor.Spec.Selector)
	}

	var rules struct {
		meta.TypeMeta
		Metadata meta.ObjectMeta `json:"metadata"`
		Spec     any             `json:"spec"`
	}
	var page any
	decode(t, manifest(t, "monitoring", "rules.yaml"), &rules)
	decode(t, blocks(t, "operating ## Watching it", "yaml")[1].text, &page)
	if monitor.Kind != "PodMonitor" || rules.Kind != "PrometheusRule" || rules.APIVersion != "monitoring.coreos.com/v1" || rules.APIVersion != monitor.APIVersion {
		t.Errorf("%+v, %+v", monitor.TypeMeta, rules.TypeMeta)
	}
	if !reflect.DeepEqual(rules.Spec, page) {
		t.Error("the rules are not those of the page")
	}
	if relabel := ask.Relabelings[0]; relabel.TargetLabel != "job" || !strings.Contains(manifest(t, "monitoring", "rules.yaml"), fmt.Sprintf("up{job=%q}", relabel.Replacement)) {
		t.Errorf("the rules go by another job than %+v", relabel)
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func TestReadmeSystemd(t *testing.T) {
	unit := only(t, "homes ## systemd", "ini")
	toml := only(t, "homes ## systemd", "toml")
	cfg, err := config.Load(t.Context(), outside(t, toml))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?m)^StateDirectory=(.*)$`).FindStringSubmatch(unit)[1]
	if cfg.Queue.Path != "/var/lib/"+name {
		t.Errorf("the store is in %s, the unit may write to /var/lib/%s", cfg.Queue.Path, name)
	}
	for _, file := range secretFiles(toml) {
		if dir, id := filepath.Split(file); dir != "/run/credentials/signalpost.service/" || !strings.Contains(unit, "\nLoadCredential="+id+":") {
			t.Errorf("the unit does not load %s", file)
		}
	}

	analyze := tool(t, "systemd-analyze")
	path := filepath.Join(t.TempDir(), "signalpost.service")
	installed := strings.Replace(unit, "ExecStart=/usr/local/bin/signalpost ", "ExecStart="+filepath.Join(binaries, "signalpost")+" ", 1)
	if installed == unit {
		t.Fatal("no ExecStart")
	}
	if err := os.WriteFile(path, []byte(installed), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("signalpost.service")) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is safe, 10 is not; 20 stands for 2.0.
	if out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold=20", path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestReadmeRules checks the alert rules and the scrape config with promtool, fires
// each rule, and looks for each metric in a real scrape.
func TestReadmeRules(t *testing.T) {
	all := blocks(t, "operating ## Watching it", "yaml")
	if len(all) != 2 {
		t.Fatalf("%d blocks", len(all))
	}
	scrapeConfig, rules := all[0].text, all[1].text

	metrics, _ := scrape(t, t.TempDir())
	used := regexp.MustCompile(`signalpost_\w+`).FindAllString(rules, -1)
	for _, name := range used {
		if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(metrics) {
			t.Errorf("a rule is about %s, which no scrape has", name)
		}
	}

	promtool := tool(t, "promtool")
	dir := t.TempDir()
	for name, text := range map[string]string{"prometheus.yml": scrapeConfig, "rules.yml": rules, "test.yml": ruleTests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"check", "config", "--syntax-only", "prometheus.yml"},
		{"check", "rules", "--lint-fatal", "rules.yml"},
		{"test", "rules", "test.yml"},
	} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(ruleTests, `"`+m[1]+`"`) {
			t.Errorf("%s is not tested", m[1])
		}
	}
}

// ruleTests has every series turn bad at minute 10, and every rule fire for it two
// hours later; in its second half all is well, and none fires.
var ruleTests = func() string {
	bad := map[string]string{
		`up{job="signalpost"}`: "1+0x10 0+0x150",
		`signalpost_signals_total{instance="b",result="refused"}`: "0+0x10 0+3x150",
		`signalpost_unaccounted`:                                  "0+0x10 1+0x150",
		`signalpost_health{route=""}`:                             "0+0x10 2+0x150",
		`signalpost_health{route="crm"}`:                          "0+0x10 2+0x150",
		`signalpost_health{route="erp"}`:                          "0+0x10 1+0x150",
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n")
	for _, well := range []bool{false, true} {
		fmt.Fprintf(&b, "  - interval: 1m\n    input_series:\n")
		for series, values := range bad {
			if well {
				first, _, _ := strings.Cut(values, "+")
				values = first + "+0x160"
			}
			fmt.Fprintf(&b, "      - { series: '%s', values: '%s' }\n", series, values)
		}
		fmt.Fprintf(&b, "    promql_expr_test:\n      - expr: count by (alertname) (ALERTS{alertstate=\"firing\"})\n        eval_time: 140m\n")
		if well {
			continue
		}
		fmt.Fprintf(&b, "        exp_samples:\n")
		for _, name := range []string{"Down", "Bad", "RefusesTheApp", "Unaccounted", "RouteBad", "Warns"} {
			fmt.Fprintf(&b, "          - { labels: '{alertname=\"Signalpost%s\"}', value: 1 }\n", name)
		}
	}
	return b.String()
}()

// TestContainer is the Dockerfile where there is no engine to build it: its
// build command builds, for the Go version of go.mod, and its paths are those that the
// documentation and the program go by.
func TestContainer(t *testing.T) {
	b, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(string(mod))[1]
	for _, want := range []string{
		"FROM golang:" + version + " AS build\n",
		fmt.Sprintf("USER %d:%d\n", user, user),
		"ENV SIGNALPOST_CONFIG=/config/signalpost.toml\n",
		"STOPSIGNAL SIGTERM\n",
		"ENTRYPOINT [\"/signalpost\"]\nCMD [\"run\"]\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
	probe := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (\[.*\])$`).FindStringSubmatch(text)
	var words []string
	if probe == nil || json.Unmarshal([]byte(probe[1]), &words) != nil || strings.Join(words, " ") != "/signalpost health" {
		t.Errorf("health check %q", probe)
	}
}

// TestReadOnlyRoot runs the sidecar as the container does: as no root user, where
// nothing can be written but the store's folder, and there are no time zones but
// its own.
func TestReadOnlyRoot(t *testing.T) {
	unshare := tool(t, "unshare")
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	port, receiver := mustFreePort(t), mustFreePort(t)
	// A mount namespace of its own, with everything below /mnt, which any user
	// may pass. All file systems but /proc are made read-only, and the store's
	// folder is a new one. On what cannot be made so, the touch fails the test.
	script := fmt.Sprintf(`set -eu
mount -t tmpfs -o mode=0755 none /mnt
mkdir /mnt/data
cp %[1]s/signalpost /mnt
cat > /mnt/signalpost.toml <<'EOF'
[server]
listen = "127.0.0.1:%[2]s"
[queue]
path = "data/store"
[[route]]
name = "one"
url = "http://127.0.0.1:%[3]s"
EOF
if [ -d /usr/share/zoneinfo ]; then mount -t tmpfs none /usr/share/zoneinfo; fi
mount -t tmpfs -o mode=0700,uid=%[4]d,gid=%[4]d none /mnt/data
awk '{ print $5 }' /proc/self/mountinfo | grep -v -e '^/proc' -e '^/mnt/data$' | while read -r m; do mount -o remount,bind,ro "$m" 2>/dev/null || true; done
cd /mnt
exec setpriv --reuid %[4]d --regid %[4]d --clear-groups --no-new-privs bash -c '
set -eu
for f in /tmp/x /dev/shm/x /mnt/x "$HOME/x"; do if touch $f 2>/dev/null; then echo "$f can be written"; exit 1; fi; done
export GOROOT=/none
if TZ=Europe/Berlin ./signalpost check | grep TZ; then echo "there is no zone data"; exit 1; fi
TZ=Europe/Brelin ./signalpost check | grep -q "TZ=Europe/Brelin names no time zone"
./signalpost listen --addr 127.0.0.1:%[3]s > data/received & receiver=$!
./signalpost run 2> data/log & sidecar=$!
trap "kill $receiver $sidecar" EXIT
until ./signalpost health 2> /dev/null; do sleep 0.05; done
./signalpost send
until grep "\"verdict\":\"delivered\"" data/log; do sleep 0.05; done
kill $sidecar
wait $sidecar
trap "kill $receiver" EXIT'
`, binaries, port, receiver, user)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, unshare, "--mount", "--propagation", "private", "bash", "-c", script).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"verdict":"delivered"`)) {
		t.Fatalf("%v\n%s", err, out)
	}
}
