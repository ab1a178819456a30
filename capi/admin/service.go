package admin

import (
	"net/http"

	"ingot/rest"
)

// serviceInstances is GET /v3/service_instances: nobody can make any yet, and those who list them, such as cf space, are
// told so.
func serviceInstances(c *rest.Call) error {
	page := c.Link("/v3/service_instances?page=1&per_page=50")
	return c.JSON(http.StatusOK, rest.Object{"resources": []rest.Object{}, "pagination": rest.Object{
		"total_results": 0, "total_pages": 1, "first": page, "last": page, "next": nil, "previous": nil,
	}})
}
