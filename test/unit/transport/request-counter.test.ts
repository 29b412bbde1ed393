import { expect, test } from "vitest";
import { describeRequest, RequestCounter } from "../../../src/engine/transport/index.ts";

test.each([
  ["GET", "/api/v1/namespaces/ns/pods?labelSelector=a", "list pods"],
  ["GET", "/api/v1/namespaces/ns/pods/p", "get pods"],
  ["GET", "/api/v1/namespaces/ns/pods?watch=true&x=1", "watch pods"],
  ["GET", "/api/v1/namespaces/ns/pods?x=1&watch=1", "watch pods"],
  ["GET", "/api/v1/namespaces/ns/pods?watch=false", "list pods"],
  ["GET", "/api/v1/namespaces/ns/pods/p/log?follow=true", "get pods/log"],
  ["GET", "/api/v1/pods", "list pods"],
  ["POST", "/apis/batch/v1/namespaces/ns/jobs", "create jobs"],
  ["PATCH", "/apis/batch/v1/namespaces/ns/jobs/j/status", "patch jobs/status"],
  ["PUT", "/apis/batch/v1/namespaces/ns/jobs/j", "update jobs"],
  ["DELETE", "/apis/batch/v1/namespaces/ns/jobs/j", "delete jobs"],
  ["DELETE", "/apis/batch/v1/namespaces/ns/jobs?labelSelector=a", "deletecollection jobs"],
  ["GET", "/api/v1/namespaces/ns", "get namespaces"],
  ["GET", "/api/v1/namespaces", "list namespaces"],
  ["GET", "/api/v1/nodes/n1", "get nodes"],
  ["POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create selfsubjectaccessreviews"],
  ["GET", "/k8s/clusters/c-1/api/v1/namespaces/ns/pods/p", "get pods"],
  ["GET", "/version", "get /version"],
  ["GET", "/apis/batch/v1", "get /apis/batch/v1"],
])("%s %s is %s", (method, target, expected) => {
  expect(describeRequest(method, target)).toBe(expected);
});

test("counts requests and connections", () => {
  const counter = new RequestCounter();
  counter.count("GET", "/api/v1/pods");
  counter.count("GET", "/api/v1/pods");
  counter.connected();
  counter.connected();
  counter.disconnected();
  expect(counter.snapshot()).toEqual({
    total: 2,
    byVerb: { "list pods": 2 },
    connectionsOpened: 2,
    connectionsOpen: 1,
  });
});
