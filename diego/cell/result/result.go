// Package result reads the document that a build leaves (buildpackapplifecycle's StagingResult, and detect_output of ours).
// It promises to be pure.
package result

import (
	"encoding/json"
	"io"

	"ingot/cf"
)

// Max bounds the document, in bytes.
const Max = 1 << 20

// Read reads a document to its end, or to Max.
func Read(r io.Reader) (*cf.StagingResult, error) {
	var doc struct {
		Lifecycle struct {
			Buildpacks []cf.DetectedBuildpack `json:"buildpacks"`
		} `json:"lifecycle_metadata"`
		ProcessTypes map[string]string  `json:"process_types"`
		Sidecars     []cf.StagedSidecar `json:"sidecars"`
		Metadata     string             `json:"execution_metadata"`
	}
	text, err := io.ReadAll(io.LimitReader(r, Max))
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		return nil, err
	}
	return &cf.StagingResult{ProcessTypes: doc.ProcessTypes, Buildpacks: doc.Lifecycle.Buildpacks, Sidecars: doc.Sidecars, Metadata: doc.Metadata}, nil
}
