import { expect, test } from "appwright";

test("a new user sees the way in", async ({ device }) => {
  await expect(device.getByText("Hello", { exact: true })).toBeVisible();
});

test("signing in shows who is there", async ({ device }) => {
  await device.getByText("Sign in", { exact: true }).tap();
  await expect(device.getByText("Welcome back", { exact: true })).toBeVisible();
});
