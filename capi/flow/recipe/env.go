package recipe

import "ingot/capi/app"

// EnvDocument is the document of an app's environment.
func EnvDocument(a *app.App, at Place, staging map[string]string, uris []string, secrets bool) map[string]any {
	system := map[string]any{"VCAP_SERVICES": byLabel(at.Services)}
	if !secrets {
		system = map[string]any{"redacted_message": app.Hidden}
	}
	return map[string]any{
		"staging_env_json": orEmpty(staging), "running_env_json": orEmpty(at.Group), "environment_variables": orEmpty(a.Env.V),
		"system_env_json":      system,
		"application_env_json": map[string]any{"VCAP_APPLICATION": vcapApplication(a, at, uris)},
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
