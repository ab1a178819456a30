package role

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// feature is one line of the registry of maturity: ga, beta, alpha, or absent (answers with a clear error).
type feature struct {
	Name     string `json:"name"`
	Maturity string `json:"maturity"`
	Note     string `json:"note"`
}

// features is the one registry, shown by `ingot features` and docs/features.md.
func features() []feature {
	return []feature{
		{"push from source", "beta", "staticfile, java, ruby, nodejs, go, python, php, nginx and binary; dotnet_core_buildpack and r_buildpack are absent"},
		{"orgs, spaces, roles, users", "beta", ""},
		{"quotas", "beta", "enforced; a new org has the quota default: 100 GB of memory, 1000 routes, 100 service instances; an instance of an app has at most 2048 MB of disk (`ingot up --max-app-disk`)"},
		{"isolation segments", "beta", "the cell of a single machine belongs to the shared one: nothing can be placed in another"},
		{"apps, processes, builds, droplets, packages", "beta", "droplets also by upload and by copy; the state of a build is changed from outside only to FAILED"},
		{"deployments and revisions", "beta", "rolling, canary with steps, rollback; the old instances go when the router knows the new ones"},
		{"routes and domains", "beta", "HTTP routes with destinations, weights, options and sharing; TCP routes with their router groups and route policies are absent"},
		{"manifests", "beta", "apply, diff, generate"},
		{"logs", "beta", "log-cache; of an app that floods, or that writes more than 1 MiB while Ingot is down, the oldest lines are dropped and counted in its log"},
		{"containers", "beta", "user namespaces, seccomp, limits of memory, pids, CPU shares and disk"},
		{"durability", "beta", "acknowledged writes survive kill -9; running apps keep their containers, and ports stay open across a crash and `ingot upgrade`"},
		{"name resolution", "beta", "resolv.conf or systemd-resolved"},
		{"login", "beta", "password, refresh and client grants, token keys, SCIM users, OAuth clients (made, shown, deleted); web pages, SSO and other identity providers are absent"},
		{"metrics", "beta", "/metrics for Prometheus on loopback; PromQL in log-cache is absent"},
		{"HTTP/2 and gRPC", "beta", "with clients on the TLS port and with apps; WebSockets over HTTP/2 are absent: clients use HTTP/1.1 for them"},
		{"route services", "absent", ""},
		{"encryption of secrets in the database", "beta", "variables, buildpack URLs, job payloads, LRPs and tasks; keys rotate online; the key file beside the data protects copies of the database, not a stolen disk"},
		{"rate limits", "beta", "20,000 requests an hour a user, 1,000 an address without a token, admins exempt; counted in each API process"},
		{"tasks", "beta", ""},
		{"sidecars", "beta", "of the API, of manifests and of buildpacks (launch.yml)"},
		{"user-provided services", "beta", "instances, bindings, VCAP_SERVICES; keys and sharing are refused as in Cloud Foundry"},
		{"service brokers, managed services", "absent", "their lists are empty"},
		{"services in files (file-based-vcap-services, service-binding-k8s)", "absent", ""},
		{"buildpacks of one's own", "beta", "by upload, or by the address of a zip or a Git repository, which the build fetches in its container; Cloud Native Buildpacks are absent"},
		{"usage events", "beta", "of apps, tasks and stagings; those of services are not written yet"},
		{"docker images", "absent", ""},
		{"ssh", "absent", ""},
		{"application security groups", "absent", "CF's two default groups are applied"},
		{"container-to-container networking", "absent", ""},
		{"several machines", "absent", ""},
		{"PostgreSQL and MySQL as stores", "beta", "PostgreSQL 15 and MariaDB 10.11; one Ingot on a database; from SQLite nothing is moved over"},
		{"firehose", "beta", "websockets of doppler. and the RLP gateway of log-stream.; HTTP start-stop events and the gRPC of the RLP are absent"},
		{"syslog drains", "absent", ""},
	}
}

func featuresCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "features", Short: "List what this Ingot can do, with its maturity", Example: "  ingot features --json", Args: cobra.NoArgs,
		PersistentPreRunE: unconfigured,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd, features())
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, f := range features() {
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", f.Maturity, f.Name, f.Note)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
