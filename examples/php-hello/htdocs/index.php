<?php
header('Content-Type: text/plain; charset=utf-8');
printf("Hello from PHP %s, instance %s\n", PHP_VERSION, getenv('CF_INSTANCE_INDEX'));
