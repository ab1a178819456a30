<%@ page contentType="text/plain; charset=UTF-8" pageEncoding="UTF-8" trimDirectiveWhitespaces="true" %>
Hello from Java <%= System.getProperty("java.version") %>, instance <%= System.getenv("CF_INSTANCE_INDEX") %>
