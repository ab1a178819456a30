// Package fault is Cloud Controller's table of errors, and turns an error into its document.
//
// It promises that what is not a *cf.Error, or is an internal one, says nothing of its cause.
package fault

import (
	"errors"
	"net/http"
	"strings"

	"ingot/cf"
	"ingot/kit/sql"
)

// code is one row of Cloud Controller's error table.
type code struct {
	Code   int
	Title  string // answered as CF-<Title>
	Status int
	Text   string // the error's own words stand for %s
}

// codes is CF's table (errors/v2.yml and v3.yml of Cloud Controller), by title. Handlers name the title, never the number.
var codes = table(
	code{1000, "InvalidAuthToken", 401, "Invalid Auth Token"},
	code{1001, "MessageParseError", 400, "Request invalid due to parse error: %s"},
	code{1002, "InvalidRelation", 400, "%s"},
	code{1004, "BadRequest", 400, "Bad request: %s"},
	code{10000, "NotFound", 404, "Unknown request"},
	code{10001, "ServerError", 500, "Server error"},
	code{10001, "RequestTooLarge", 413, "The request body is too large"}, // Cloud Controller's nginx answers it without a document
	code{10002, "NotAuthenticated", 401, "Authentication error"},
	code{10003, "NotAuthorized", 403, "You are not authorized to perform the requested action"},
	code{10004, "InvalidRequest", 400, "The request is invalid"},
	code{10005, "BadQueryParameter", 400, "The query parameter is invalid: %s"},
	code{10006, "AssociationNotEmpty", 400, "Please delete the %s associations for your %s."},
	code{10007, "InsufficientScope", 403, "Your token lacks the necessary scopes to access this resource."},
	code{10008, "UnprocessableEntity", 422, "%s"},
	code{10009, "UnableToPerform", 400, "%s could not be completed: %s"},
	code{10010, "ResourceNotFound", 404, "%s"},
	code{10013, "RateLimitExceeded", 429, "Rate Limit Exceeded"},
	code{10014, "IPBasedRateLimitExceeded", 429, "Rate Limit Exceeded: Unauthenticated requests from this IP address have exceeded the limit. Please log in."},
	code{10015, "ServiceUnavailable", 503, "%s"},
	code{10016, "UniquenessError", 422, "%s"},
	code{10017, "OrgSuspended", 403, "The organization is suspended"},
	code{10019, "SpaceSuspended", 403, "The space is suspended"},
	code{10020, "ResourceBeingDeleted", 422, "The %s is being deleted"},
	code{10081, "InternalServerError", 500, "%s"},
	code{20004, "UaaUnavailable", 503, "The UAA service is currently unavailable"},
	code{20008, "UaaRateLimited", 429, "The UAA is currently rate limited. Please try again later"},
	code{30001, "OrganizationInvalid", 400, "The organization info is invalid: %s"},
	code{60005, "ServiceInstanceQuotaExceeded", 400, "You have exceeded your organization's services limit."},
	code{60007, "ServiceInstanceServicePlanNotAllowed", 400, "The service instance cannot be created because paid service plans are not allowed."},
	code{60012, "ServiceInstanceSpaceQuotaExceeded", 400, "You have exceeded your space's services limit."},
	code{60013, "ServiceInstanceServicePlanNotAllowedBySpaceQuota", 400,
		"The service instance cannot be created because paid service plans are not allowed for your space."},
	code{60016, "AsyncServiceInstanceOperationInProgress", 409, "An operation for service instance %s is in progress."},
	code{90007, "ServiceFetchBindingParametersNotSupported", 400, "This service does not support fetching service binding parameters."},
	code{120004, "ServiceFetchInstanceParametersNotSupported", 400, "This service does not support fetching service instance parameters."},
	code{130008, "ServiceInstanceAlreadyBoundToSameRoute", 400, "The route and service instance are already bound."},
	code{150001, "AppPackageInvalid", 400, "The app package is invalid: %s"},
	code{150003, "InsufficientRunningResourcesAvailable", 503, "One or more instances could not be started because of insufficient running resources."},
	code{150004, "PackageBitsAlreadyUploaded", 400, "Bits may be uploaded only once. Create a new package to upload different bits."},
	code{150005, "BlobstoreNotLocal", 400, "Downloading blobs can only be done directly to the blobstore."},
	code{150006, "BlobstoreUnavailable", 502, "Failed to perform operation due to blobstore unavailability."},
	code{150007, "BlobstoreError", 500, "Failed to perform blobstore operation after three retries."},
	code{150010, "ResourceChecksumMismatch", 500, "One or more cached resources did not match the given checksum. They have been deleted; please retry package upload."},
	code{160001, "AppBitsUploadInvalid", 400, "The app upload is invalid: %s"},
	code{160002, "AppBitsCopyInvalid", 400, "The app copy is invalid: %s"},
	code{160003, "AppResourcesFileModeInvalid", 400, "The resource file mode is invalid: %s"},
	code{160004, "AppResourcesFilePathInvalid", 400, "The resource file path is invalid: %s"},
	code{170001, "StagingError", 400, "Staging error: %s"},
	code{170002, "NotStaged", 400, "App has not finished staging"},
	code{170003, "NoAppDetectedError", 400, "An app was not successfully detected by any available buildpack"},
	code{170004, "BuildpackCompileFailed", 400, "App staging failed in the buildpack compile phase"},
	code{170005, "BuildpackReleaseFailed", 400, "App staging failed in the buildpack release phase"},
	code{170006, "NoBuildpacksFound", 400, "There are no buildpacks available"},
	code{170007, "StagingTimeExpired", 504, "Staging time expired: %s"},
	code{170008, "InsufficientResources", 400, "Insufficient resources"},
	code{170009, "NoCompatibleCell", 400, "Found no compatible cell"},
	code{170010, "StagerUnavailable", 503, "Stager is unavailable: %s"},
	code{170011, "StagerError", 500, "Stager error: %s"},
	code{170014, "RunnerInvalidRequest", 500, "Runner invalid request: %s"},
	code{170015, "RunnerUnavailable", 503, "Runner is unavailable: %s"},
	code{170016, "RunnerError", 500, "Runner error: %s"},
	code{170017, "StagingInProgress", 422, "Only one build can be STAGING at a time per application."},
	code{170019, "TaskError", 500, "Task failed: %s"},
	code{170020, "TaskWorkersUnavailable", 503, "Task workers are unavailable: %s"},
	code{170021, "InvalidTaskRequest", 422, "The task request is invalid: %s"},
	code{200002, "StatsUnavailable", 503, "Stats unavailable: %s"},
	code{220001, "InstancesError", 400, "Instances error: %s"},
	code{220002, "InstancesUnavailable", 503, "Instances information unavailable: %s"},
	code{250004, "StackValidationFailed", 422, "%s"},
	code{290000, "BuildpackNameStackLifecycleTaken", 422, "The buildpack name %s is already in use for the stack %s and the lifecycle %s"},
	code{290002, "BuildpackBitsUploadInvalid", 400, "The buildpack upload is invalid: %s"},
	code{290003, "BuildpackInvalid", 400, "Buildpack is invalid: %s"},
	code{290004, "CustomBuildpacksDisabled", 400, "Custom buildpacks are disabled"},
	code{290005, "BuildpackLocked", 409, "The buildpack is locked"},
	code{290006, "JobTimeout", 524, "The job execution has timed out."},
	code{290007, "SpaceDeleteTimeout", 524, "Deletion of space %s timed out before all resources within could be deleted"},
	code{290008, "SpaceDeletionFailed", 502, "Deletion of space %s failed because one or more resources within could not be deleted.\n\n%s"},
	code{290009, "OrganizationDeleteTimeout", 524, "Delete of organization %s timed out before all resources within could be deleted"},
	code{290010, "OrganizationDeletionFailed", 502, "Deletion of organization %s failed because one or more resources within could not be deleted.\n\n%s"},
	code{320001, "DiegoDisabled", 400, "Diego has not been enabled."},
	code{320003, "DockerDisabled", 400, "Docker support has not been enabled."},
	code{320007, "CNBDisabled", 400, "Cloud Native Buildpacks support has not been enabled."},
	code{330002, "FeatureDisabled", 403, "Feature Disabled: %s"},
	code{370001, "RoutingApiUnavailable", 503, "The Routing API is currently unavailable"},
	code{380002, "DropletUploadInvalid", 400, "The droplet upload is invalid: %s"},
	code{390011, "BuildpackStacksDontMatch", 422, "Uploaded buildpack stack (%s) does not match %s"},
	code{390012, "BuildpackStackDoesNotExist", 422, "Uploaded buildpack stack (%s) does not exist"},
	code{390013, "BuildpackZipError", 422, "Buildpack zip error: %s"},
	code{390016, "ScaleDisabledDuringDeployment", 422, "Cannot scale this process while a deployment is in flight."},
	code{390017, "ProcessUpdateDisabledDuringDeployment", 422, "Cannot update this process while a deployment is in flight."},
	code{390020, "LabelLimitExceeded", 422, "Failed to add %s labels because it would exceed maximum of %s"},
	code{390023, "AnnotationLimitExceeded", 422, "Failed to add %s annotations because it would exceed maximum of %s"},
	code{390024, "StopDisabledDuringDeployment", 422, "Cannot stop the app while it is deploying, please cancel the deployment before stopping the app."},
)

func table(rows ...code) map[string]code {
	m := make(map[string]code, len(rows))
	for _, r := range rows {
		m[r.Title] = r
	}
	return m
}

// words puts an error's public words into the row's text. Words that are the whole text already stay as they are.
func (c code) words(public string) string {
	before, after, open := strings.Cut(c.Text, "%s")
	switch {
	case public == "" && open:
		return strings.TrimRight(before, ": ") + after
	case !open && public == "":
		return c.Text
	case !open || strings.Contains(after, "%s") || strings.HasPrefix(public, before) && strings.HasSuffix(public, after):
		return public
	}
	return before + public + after
}

// kinds names the title of an error that names none.
var kinds = map[cf.Kind]string{
	cf.KindInvalid: "BadRequest", cf.KindUnprocessable: "UnprocessableEntity", cf.KindUnauthenticated: "InvalidAuthToken",
	cf.KindForbidden: "NotAuthorized", cf.KindNotFound: "ResourceNotFound", cf.KindConflict: "UnprocessableEntity",
	cf.KindTooLarge: "UnprocessableEntity", cf.KindLimited: "RateLimitExceeded", cf.KindUnavailable: "ServiceUnavailable",
	cf.KindNoRoom: "InsufficientResources",
}

// Fault is one error of an answer.
type Fault struct {
	Code   int    `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// unknown is CF's answer when it does not know what happened.
var unknown = Fault{10001, "UnknownError", "An unknown error occurred."}

// Words are what an error says to the client.
func Words(err error) string {
	_, faults := Describe(err)
	return faults[0].Detail
}

// Describe turns an error into CF's document of it and the HTTP status. What is not a *cf.Error, or is an internal
// one, says nothing of its cause.
func Describe(err error) (status int, faults []Fault) {
	var e *cf.Error
	switch {
	case errors.As(err, &e):
	case sql.IsUnavailable(err):
		e = &cf.Error{Kind: cf.KindUnavailable, Public: "The database is busy or its disk is full. Try again later."}
	default:
		return http.StatusInternalServerError, []Fault{unknown}
	}
	for _, one := range append([]*cf.Error{e}, e.More...) {
		title := one.Code
		if title == "" {
			title = kinds[one.Kind]
		}
		c, ok := codes[title]
		if !ok {
			c = code{unknown.Code, "", http.StatusInternalServerError, unknown.Detail}
			one = &cf.Error{}
		}
		f := Fault{c.Code, "CF-" + c.Title, one.Before + c.words(one.Public)}
		if c.Title == "" {
			f.Title = unknown.Title
		}
		if status == 0 {
			status = c.Status
		}
		faults = append(faults, f)
	}
	return status, faults
}
