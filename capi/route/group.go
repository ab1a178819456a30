package route

import (
	"fmt"
	"net/http"

	"ingot/rest"
)

// routerGroups is the list of CF's routing API. There are no router groups as long as there are no TCP routes.
func routerGroups(c *rest.Call) error {
	if name := c.R.URL.Query().Get("name"); name != "" {
		return c.JSON(http.StatusNotFound, rest.Object{"name": "ResourceNotFoundError", "message": fmt.Sprintf("Router Group '%s' not found", name)})
	}
	return c.JSON(http.StatusOK, []rest.Object{})
}
