package doc

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"ingot/rest"
)

type object = map[string]any

var argument = regexp.MustCompile(`\{(\w+)(\.\.\.)?\}`)

// OpenAPI is the document for programs, in OpenAPI 3.1, with one operation a line.
func (rec *Recorder) OpenAPI(all []rest.Endpoint) ([]byte, error) {
	var b bytes.Buffer
	line := func(before string, v any, after string) (err error) {
		b.WriteString(before)
		raw, err := json.Marshal(v)
		b.Write(raw)
		b.WriteString(after)
		return err
	}
	errs := []error{line("{\n\"openapi\": \"3.1.0\",\n\"info\": ", object{"title": "Cloud Foundry API v3", "version": "3",
		"description": "What this platform serves. Written by a test from its declarations; the fields of answers are not in it."}, ",\n\"paths\": {")}
	now := ""
	for _, e := range all {
		glue := ",\n  "
		if at := argument.ReplaceAllString(e.Path, "{$1}"); at != now {
			if now != "" {
				b.WriteString("\n },")
			}
			now, glue = at, "\n "+strconv.Quote(at)+": {\n  "
		}
		errs = append(errs, line(glue+strconv.Quote(strings.ToLower(e.Method))+": ", rec.operation(e), ""))
	}
	errs = append(errs, line("\n }\n},\n\"components\": ", components(), ",\n"), line("\"security\": ", []object{{"token": []string{}}}, "\n}\n"))
	return b.Bytes(), errors.Join(errs...)
}

// components are what operations refer to.
func components() object {
	guid := object{"type": "object", "properties": object{"guid": kind("string")}}
	fault := object{"type": "object", "properties": object{"code": kind("integer"), "title": kind("string"), "detail": kind("string")}}
	params := object{}
	for _, p := range []rest.Parameter{{Name: "page", Type: "number"}, {Name: "per_page", Type: "number"}, {Name: "guids", Type: "list"},
		{Name: "created_ats", Type: "times"}, {Name: "updated_ats", Type: "times"}, {Name: "label_selector"}} {
		for _, one := range parameter(p) {
			params[component(one)] = one
		}
	}
	return object{
		"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
		"parameters":      params,
		"responses": object{"error": object{"description": "refused", "content": content("application/json",
			object{"type": "object", "properties": object{"errors": object{"type": "array", "items": fault}}})}},
		"schemas": object{
			"relationship":  object{"type": "object", "properties": object{"data": object{"anyOf": []object{guid, kind("null")}}}},
			"relationships": object{"type": "object", "properties": object{"data": object{"type": "array", "items": guid}}},
			"metadata":      object{"type": "object", "properties": object{"labels": kind("object"), "annotations": kind("object")}},
		},
	}
}

// component is the name of a parameter that every list has.
func component(p object) string {
	name, _ := p["name"].(string)
	return strings.NewReplacer("[", "_", "]", "").Replace(name)
}

func (rec *Recorder) operation(e rest.Endpoint) object {
	a := rec.of(e)
	op := object{"tags": []string{group(e)}, "x-maturity": e.Maturity, "operationId": id(e)}
	params := []object{}
	for _, m := range argument.FindAllStringSubmatch(e.Path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": kind("string")})
	}
	for _, p := range query(e, a) {
		for _, one := range parameter(p) {
			if everyList[p.Name] || p.Type == "selector" {
				one = object{"$ref": "#/components/parameters/" + component(one)}
			}
			params = append(params, one)
		}
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	switch {
	case a.body != nil:
		op["requestBody"] = object{"content": content("application/json", schema(a.body))}
	case a.other != "":
		op["requestBody"] = object{"content": content(a.other, object{})}
	}
	responses := object{"default": object{"$ref": "#/components/responses/error"}}
	for _, code := range a.status {
		responses[strconv.Itoa(code)] = object{"description": said[code]}
	}
	op["responses"] = responses
	if e.Open {
		op["security"] = []object{{}}
	}
	return op
}

var said = map[int]string{200: "done", 201: "made", 202: "begun; Location is the job's address", 204: "done", 302: "elsewhere"}

var between = regexp.MustCompile(`[^a-z0-9_]+`)

func id(e rest.Endpoint) string {
	return strings.Trim(strings.ToLower(e.Method)+"_"+strings.Trim(between.ReplaceAllString(e.Path, "_"), "_"), "_")
}

// parameter is one of a query; that of times has its bounds besides.
func parameter(p rest.Parameter) []object {
	one := func(name string, s object) object { return object{"name": name, "in": "query", "schema": s} }
	texts := object{"type": "array", "items": kind("string")}
	list := func(name string, s object) object {
		return object{"name": name, "in": "query", "schema": s, "style": "form", "explode": false}
	}
	switch p.Type {
	case "number":
		return []object{one(p.Name, object{"type": "integer", "minimum": 1})}
	case "boolean":
		return []object{one(p.Name, kind("boolean"))}
	case "order":
		var all []string
		for _, v := range p.Values {
			all = append(all, v, "+"+v, "-"+v)
		}
		return []object{one(p.Name, object{"type": "string", "enum": all})}
	case "include", "fields":
		return []object{list(p.Name, object{"type": "array", "items": object{"type": "string", "enum": p.Values}})}
	case "times":
		out := []object{list(p.Name, object{"type": "array", "items": object{"type": "string", "format": "date-time"}})}
		for _, bound := range []string{"gt", "gte", "lt", "lte"} {
			out = append(out, one(p.Name+"["+bound+"]", object{"type": "string", "format": "date-time"}))
		}
		return out
	case "list":
		out := []object{list(p.Name, texts)}
		if p.Not {
			out = append(out, list(p.Name+"[not]", texts))
		}
		return out
	}
	return []object{one(p.Name, kind("string"))}
}

// schema is the body's; what is not declared is refused.
func schema(all []rest.Field) object {
	properties, required := object{}, []string{}
	for _, f := range all {
		switch {
		case len(f.Fields) > 0:
			properties[f.Name] = schema(f.Fields)
		case f.Type == "relationship" || f.Type == "relationships" || f.Type == "metadata":
			properties[f.Name] = object{"$ref": "#/components/schemas/" + f.Type}
		case f.Type == "":
			properties[f.Name] = object{}
		default:
			properties[f.Name] = object{"type": []string{f.Type, "null"}}
		}
		if f.Required {
			required = append(required, f.Name)
		}
	}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func kind(name string) object { return object{"type": name} }

func content(mime string, schema object) object { return object{mime: object{"schema": schema}} }
